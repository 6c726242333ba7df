"""Alarms of a subscription: when it fails, recovers or was disabled. Only transitions are announced.

`next_alarm` is pure. Each record is stored before it is published, as in `alarms.py`: processes that assess at the same
moment publish the same, and what a killed process did not publish, the next one publishes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import redis

from bridge.delivery.groups import OPEN, FailureGroup
from bridge.delivery.status import SubscriptionState
from bridge.ingest import notices
from bridge.ingest.notices import Notice
from bridge.monitoring.agreed_records import AgreedRecords
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.text import duration_text
from schemas.notices import SUBSCRIPTION_DISABLED, SUBSCRIPTION_FAILING, SUBSCRIPTION_RECOVERED

__all__ = [
    "BLOCKED",
    "CIRCUIT",
    "QUIET_SECONDS",
    "Facts",
    "SubscriptionAlarm",
    "SubscriptionAlarms",
    "alarm_notice",
    "next_alarm",
]

#: A receiver that does not answer is a problem after this long, seconds: it may only be restarting.
LASTING_SECONDS = 300.0
#: After an alarm is over, nothing is raised for this long, seconds: an intermittent problem is one problem.
QUIET_SECONDS = 900.0
#: Causes of a failing subscription besides its failure groups: its receiver does not answer; nothing can be tried,
#: because a broker or database is away, or not as expected.
CIRCUIT, BLOCKED = "circuit", "blocked"
_FIELD = "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an assessment is made from. `now`: UNIX seconds."""

    name: str
    now: float
    state: SubscriptionState
    groups: Sequence[FailureGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionAlarm:
    """The record of a subscription's alarm. Times are UNIX seconds."""

    #: Type of the last event.
    kind: str
    #: Number of that event, which makes it unique.
    number: int
    #: When it was decided.
    at: float
    #: When the problem began.
    since: float
    #: The causes that were announced and last: `circuit`, `blocked` and fingerprints of failure groups.
    causes: tuple[str, ...]
    #: Whether the journal has the event of this record.
    published: bool
    fact: str
    value: str
    remedy: str
    #: Members of a later version, and the bytes that it was read from.
    later: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    raw: bytes | None = field(default=None, compare=False, repr=False)


def next_alarm(old: SubscriptionAlarm | None, facts: Facts) -> SubscriptionAlarm | None:
    """The record after an assessment; None if there was never a problem.

    A subscription fails while its receiver does not answer for five minutes, or nothing could be tried for as long, or
    deliveries were given up in a failure group that is open. A new cause is announced, a lasting one only once. A
    pause changes nothing.
    """
    if (old is not None and not old.published) or facts.state.circuit == "paused":
        return old
    if facts.state.circuit == "disabled":
        return old if old is not None and old.kind == SUBSCRIPTION_DISABLED else _disabled(old, facts)
    causes = _causes(facts)
    known = set() if old is None or old.kind == SUBSCRIPTION_DISABLED else set(old.causes)
    if set(causes) - known:
        if old is not None and old.kind == SUBSCRIPTION_RECOVERED and facts.now - old.at < QUIET_SECONDS:
            return old
        return _failing(old, facts, causes)
    if old is None or old.kind == SUBSCRIPTION_RECOVERED:
        return old
    if not causes:
        return _recovered(old, facts)
    return replace(old, causes=tuple(sorted(causes)))


def _causes(facts: Facts) -> dict[str, FailureGroup | None]:
    causes: dict[str, FailureGroup | None] = {
        group.fingerprint: group for group in facts.groups if group.state == OPEN and group.dead
    }
    since = facts.state.failing_since
    if facts.state.circuit == "open" and since is not None and facts.now - since >= LASTING_SECONDS:
        causes[CIRCUIT] = None
    since = facts.state.blocked_since
    if facts.state.blocked_by and since is not None and facts.now - since >= LASTING_SECONDS:
        causes[BLOCKED] = None
    return causes


def _failing(old: SubscriptionAlarm | None, facts: Facts, causes: dict[str, FailureGroup | None]) -> SubscriptionAlarm:
    groups = [group for group in causes.values() if group is not None]
    dead = sum(group.dead for group in groups)
    if CIRCUIT in causes:
        fact, value = "the receiver does not answer", facts.state.last_error or "no answer"
        remedy = f"fix the receiver; attempt-bridge subscriptions show {facts.name} has its errors"
    elif BLOCKED in causes:
        value, _, own = facts.state.blocked_by.partition(". Remedy: ")
        fact, remedy = (
            "nothing can be sent",
            own or f"attempt-bridge subscriptions show {facts.name} says what it waits for",
        )
    else:
        largest = max(groups, key=lambda group: group.dead)
        fact, value = "deliveries were given up", f"{dead} dead letters, most of them: {largest.message}"
        remedy = f"attempt-bridge failure-groups list --subscription {facts.name}: fix, then replay or discard them"
    begun = [group.since for group in groups] + [facts.state.failing_since or facts.now] * (CIRCUIT in causes)
    begun += [facts.state.blocked_since or facts.now] * (BLOCKED in causes)
    return SubscriptionAlarm(
        kind=SUBSCRIPTION_FAILING,
        number=_following(old),
        at=facts.now,
        since=min(begun),
        causes=tuple(sorted(causes)),
        published=False,
        fact=fact,
        value=value,
        remedy=remedy,
    )


def _disabled(old: SubscriptionAlarm | None, facts: Facts) -> SubscriptionAlarm:
    return SubscriptionAlarm(
        kind=SUBSCRIPTION_DISABLED,
        number=_following(old),
        at=facts.now,
        since=facts.state.failing_since or facts.now,
        causes=(),
        published=False,
        fact="the subscription was disabled",
        value=facts.state.circuit_reason,
        remedy=f"fix the receiver, then attempt-bridge subscriptions resume {facts.name}; its events wait for "
        "bridge.retention.events",
    )


def _recovered(old: SubscriptionAlarm, facts: Facts) -> SubscriptionAlarm:
    minutes = max(1, round((facts.now - old.since) / 60))
    return replace(
        old,
        kind=SUBSCRIPTION_RECOVERED,
        number=_following(old),
        at=facts.now,
        causes=(),
        published=False,
        value=f"over after {duration_text(minutes * 60.0)}",
        remedy="none needed",
    )


def _following(old: SubscriptionAlarm | None) -> int:
    return 1 if old is None else old.number + 1


def alarm_notice(subscription: str, alarm: SubscriptionAlarm) -> Notice:
    """The event of a record; every process makes the same one, because it uses only the record."""
    return notices.subscription_alarm(
        alarm.kind,
        subscription,
        occasion=f"{alarm.number}:{alarm.at:.3f}",
        time=alarm.at,
        since=alarm.since,
        fact=alarm.fact,
        value=alarm.value,
        remedy=alarm.remedy,
    )


class SubscriptionAlarms:
    """The alarms of all subscriptions. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._records = AgreedRecords(client, SubscriptionAlarm, {})

    def of(self, subscription: str) -> SubscriptionAlarm | None:
        """The record of a subscription; None if there was never a problem."""
        key = keys.subscription_alarm(subscription)
        with state_errors():
            stored = cast("bytes | None", self.client.hget(key, _FIELD))
        return None if stored is None else self._records.read(key, _FIELD, stored)

    def compare_and_set(
        self, subscription: str, old: SubscriptionAlarm | None, new: SubscriptionAlarm
    ) -> SubscriptionAlarm:
        """Replace `old` by `new`; returns the record that is stored now, `new` or another process's."""
        return self._records.compare_and_set(keys.subscription_alarm(subscription), _FIELD, old, new)
