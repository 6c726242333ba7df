"""Notices: events about something other than a result: overdue attempts, withdrawn consent, alarms.

The journal remembers a notice like an attempt, under its own id, so it is published exactly once even if several
processes notice the occasion at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.clock import to_datetime
from bridge.config.model import BridgeConfig
from bridge.journal import BRIDGE, Submission
from bridge.polling.watches import ATTEMPT, EXPECTATION, POINTER, UNGRADED, OpenWatch
from bridge.telemetry import tracing
from schemas.envelope import SCHEMA_VERSION, event_id, format_time, source_path, subscription_path
from schemas.notices import CONSENT_WITHDRAWN, OVERDUE, NoticeEvent

__all__ = [
    "Notice",
    "alarm",
    "consent_withdrawn",
    "overdue",
    "overdue_ids",
    "submission",
    "subscription_alarm",
    "subscription_submission",
]

#: The same for all notices: a second notice of the same occasion is a duplicate.
_DIGEST = b"notice"
#: Kinds of watches whose deadline is announced.
_OVERDUE_KINDS = (ATTEMPT, EXPECTATION, POINTER, UNGRADED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notice before it is published."""

    #: Event type.
    type: str
    #: What it concerns: an attempt id, a vendor's key or the source.
    subject: str
    #: Distinguishes repeated notices with the same type and subject.
    occasion: str
    #: Plain JSON values (`schemas/notice_shapes.py`).
    data: Mapping[str, Any]
    #: When it happened, UNIX seconds; None: now.
    time: float | None = None


def submission(bridge: BridgeConfig, source: str, vendor: str, notice: Notice, *, now: float) -> Submission:
    """The submission of a notice about a configured source; submitted again, it is a duplicate."""
    return _submission(bridge, source_path(bridge.name, source), source, vendor, notice, now)


def subscription_submission(bridge: BridgeConfig, subscription: str, notice: Notice, *, now: float) -> Submission:
    """The submission of a notice about a subscription; submitted again, it is a duplicate."""
    # Its source in the journal is a name that no configured source can have.
    path = subscription_path(bridge.name, subscription)
    return _submission(bridge, path, f"subscriptions/{subscription}", "bridge", notice, now)


def _submission(bridge: BridgeConfig, path: str, source: str, vendor: str, notice: Notice, now: float) -> Submission:
    memory = f"notice:{notice.type}:{notice.subject}:{notice.occasion}"
    span = tracing.publication(source, vendor, BRIDGE)
    traceparent = "" if span is None else span.traceparent

    def build(revision: int, _previous: Mapping[str, Any] | None) -> tuple[str, str, bytes]:
        event = NoticeEvent(
            id=event_id(path, memory, notice.type, revision),
            source=path,
            type=notice.type,
            subject=notice.subject,
            time=to_datetime(now if notice.time is None else notice.time),
            dataschema=f"{bridge.public_url}/schemas/notice/{SCHEMA_VERSION}.json",
            recordedtime=to_datetime(now),
            partitionkey=f"{source}/{notice.subject}",
            bridgevendor=vendor,
            bridgeorigin=BRIDGE,
            traceparent=traceparent,
            data=notice.data,
        )
        return event.type, event.id, event.to_json()

    return Submission(
        source=source,
        attempt_id=memory,
        digest=_DIGEST,
        order=0,
        origin=BRIDGE,
        build=build,
        subject=notice.subject,
        span=span,
    )


def overdue(watch: OpenWatch, *, label: str | None = None) -> Notice:
    """`attempt.overdue`: `watch` has passed its deadline. `label`: the operator's label of the expectation."""
    return Notice(
        type=OVERDUE,
        subject=watch.key,
        occasion=f"{watch.kind}:{watch.give_up_at:.0f}",
        time=watch.give_up_at,
        data={
            "watch": {
                "key": watch.key,
                "kind": watch.kind,
                "reference": _impersonal(watch.reference),
                "label": label,
                "opened_at": _time(watch.opened_at),
                "due": _time(watch.due),
                "deadline": _time(watch.give_up_at),
                "looks": watch.rechecks,
            }
        },
    )


def overdue_ids(path: str, key: str, deadline: float) -> list[str]:
    """Ids of the events that `overdue` may have produced from a watch. `path`: the CloudEvents source."""
    memories = (f"notice:{OVERDUE}:{key}:{kind}:{deadline:.0f}" for kind in _OVERDUE_KINDS)
    return [event_id(path, memory, OVERDUE, 1) for memory in memories]


def consent_withdrawn(*, key: str, number: int, at: float, subject: Mapping[str, str], attempts_voided: int) -> Notice:
    """`consent.withdrawn`: a person withdrew consent `at` a time of the vendor's clock, UNIX seconds.

    `subject`: ids of the person. `attempts_voided`: number of published attempts that were voided.
    """
    return Notice(
        type=CONSENT_WITHDRAWN,
        subject=key,
        occasion=f"{number}",
        time=at,
        data={
            "consent": {
                "subject": _impersonal(subject),
                "withdrawn_at": _time(at),
                "attempts_voided": attempts_voided,
            }
        },
    )


def alarm(
    kind: str, source: str, *, occasion: str, time: float, state: str, since: float, fact: str, value: str, remedy: str
) -> Notice:
    """An alarm of type `kind` about a source; `state` is `raised` or `recovered`.

    `since`: when the problem began. `time`: when it was detected or ended. Both in UNIX seconds.
    """
    facts = {"state": state, "since": _time(since), "fact": fact, "value": value, "remedy": remedy}
    return Notice(type=kind, subject=source, occasion=occasion, time=time, data={"alarm": facts})


def subscription_alarm(
    kind: str, subscription: str, *, occasion: str, time: float, since: float, fact: str, value: str, remedy: str
) -> Notice:
    """A notice of type `kind` about a subscription. `since`, `time`: UNIX seconds, as in `alarm`."""
    facts = {"name": subscription, "since": _time(since), "fact": fact, "value": value, "remedy": remedy}
    return Notice(type=kind, subject=subscription, occasion=occasion, time=time, data={"subscription": facts})


def _impersonal(members: Mapping[str, str]) -> dict[str, str]:
    """The members without e-mail addresses: some vendors identify a person by e-mail, but notices name no one."""
    return {name: value for name, value in members.items() if "mail" not in name.casefold() and "@" not in value}


def _time(moment: float) -> str:
    return format_time(to_datetime(moment))
