"""Notices: what the bridge itself has to say, as events on the journal: late attempts, withdrawn consent, alarms.

A notice goes through the same memory as an attempt, under an id of its own, so it is published exactly once however
many processes see the occasion at the same moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.clock import to_datetime
from bridge.config.model import BridgeConfig
from bridge.journal import BRIDGE, Submission
from bridge.polling.watches import OpenWatch
from schemas.envelope import SCHEMA_VERSION, event_id, format_time, source_path
from schemas.notices import CONSENT_WITHDRAWN, OVERDUE, NoticeEvent

__all__ = ["Notice", "alarm", "consent_withdrawn", "overdue", "submission"]

#: Every notice of one occasion is the same news, whoever writes it and when.
_DIGEST = b"notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is to be announced. `data`: plain JSON values (`schemas/notice_shapes.py`).

    `subject`: whom it concerns, an attempt id, a vendor's key or the source. `occasion`: tells this time from the
    next one with the same type and subject. `time`: when it happened, UNIX seconds; None: now.
    """

    type: str
    subject: str
    occasion: str
    data: Mapping[str, Any]
    time: float | None = None


def submission(bridge: BridgeConfig, source: str, vendor: str, notice: Notice, *, now: float) -> Submission:
    """What is offered to the journal for one notice of a configured source; offered again, it is a duplicate."""
    memory = f"notice:{notice.type}:{notice.subject}:{notice.occasion}"
    path = source_path(bridge.name, source)

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
    )


def overdue(watch: OpenWatch, *, label: str | None = None) -> Notice:
    """`attempt.overdue`: `watch` has passed its deadline. `label`: the operator's own words for what was expected."""
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


def consent_withdrawn(*, key: str, number: int, at: float, subject: Mapping[str, str], attempts_voided: int) -> Notice:
    """`consent.withdrawn`: whom it concerns (ids only), `at` which moment in the vendor's word (UNIX seconds), and how
    many published attempts lost their result for it."""
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
    """An alarm of type `kind` about a source: `state` is `raised` or `recovered`. `since`: when the trouble began,
    `time`: when it was noticed or over, UNIX seconds."""
    facts = {"state": state, "since": _time(since), "fact": fact, "value": value, "remedy": remedy}
    return Notice(type=kind, subject=source, occasion=occasion, time=time, data={"alarm": facts})


def _impersonal(members: Mapping[str, str]) -> dict[str, str]:
    """Without e-mail addresses: some vendors know a person by nothing else, but a notice names nobody."""
    return {name: value for name, value in members.items() if "mail" not in name.casefold() and "@" not in value}


def _time(moment: float) -> str:
    return format_time(to_datetime(moment))
