"""Alarms of a source: when one is raised, repeated and ended, and its current record for people and gauges.

`bridge/monitoring/source_health.py` finds the problems. This module decides when to publish: once when an alarm is
raised, once a day while it lasts, once when it ends. Each change is stored before it is published, so processes that
assess at the same moment publish the same, and what a killed process did not publish, the next one publishes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import redis

from bridge.ingest import notices
from bridge.ingest.notices import Notice
from bridge.monitoring.agreed_records import AgreedRecords
from bridge.monitoring.source_health import SourceProblem
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.text import duration_text

__all__ = [
    "QUIET_SECONDS",
    "RAISED",
    "RECOVERED",
    "Alarm",
    "Alarms",
    "alarm_notice",
    "next_alarm",
    "raised_alarms",
    "raised_alarms_of",
]

RAISED, RECOVERED = "raised", "recovered"
#: After it is over, an alarm is not raised again for this long, seconds: an intermittent problem is one problem.
QUIET_SECONDS = 900.0
_DAY = 86_400.0
#: Field of `Alarm` -> its stored member, where they differ.
_MEMBERS = {"published": "told"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """The record of one kind of alarm of a source. Times are UNIX seconds."""

    #: Type of the event, such as `source.webhooks_silent`.
    kind: str
    #: `raised` or `recovered`.
    state: str
    #: When the problem began.
    since: float
    #: When it was noticed.
    raised_at: float
    #: When this record was made.
    at: float
    #: Full days since it was raised, each of which repeats it.
    repeats: int
    #: Whether the journal has the event of this record.
    published: bool
    #: What is wrong.
    fact: str
    #: The numbers or the error that show it.
    value: str
    #: What to do.
    remedy: str
    #: Members of a later version, and the bytes that it was read from.
    later: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    raw: bytes | None = field(default=None, compare=False, repr=False)


def next_alarm(old: Alarm | None, kind: str, problem: SourceProblem | None, now: float) -> Alarm | None:
    """The record after an assessment; None if the alarm was never raised. Pure."""
    if old is not None and not old.published:
        return old
    if old is None or old.state == RECOVERED:
        # A record from the future was made before the clock was set back: it keeps nothing quiet.
        if problem is None or (old is not None and 0 <= now - old.at < QUIET_SECONDS):
            return old
        return Alarm(
            kind=kind,
            state=RAISED,
            since=problem.since,
            raised_at=now,
            at=now,
            repeats=0,
            published=False,
            fact=problem.fact,
            value=problem.value,
            remedy=problem.remedy,
        )
    if problem is None:
        return replace(old, state=RECOVERED, at=now, published=False)
    days = int((now - old.raised_at) // _DAY)
    return replace(old, repeats=days, at=now, value=problem.value, published=False) if days > old.repeats else old


def alarm_notice(source: str, alarm: Alarm) -> Notice:
    """The event of an alarm; every process makes the same one, because it uses only the record."""
    value, remedy, turn = alarm.value, alarm.remedy, str(alarm.repeats)
    if alarm.state == RECOVERED:
        minutes = max(1, round((alarm.at - alarm.since) / 60))
        value, remedy, turn = f"over after {duration_text(minutes * 60.0)}", "none needed", RECOVERED
    return notices.alarm(
        alarm.kind,
        source,
        occasion=f"{alarm.raised_at:.3f}:{turn}",
        time=alarm.at,
        state=alarm.state,
        since=alarm.since,
        fact=alarm.fact,
        value=value,
        remedy=remedy,
    )


class Alarms:
    """The alarms of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._records = AgreedRecords(client, Alarm, _MEMBERS)

    def of(self, source: str) -> dict[str, Alarm]:
        """Kind -> record, for the kinds that were ever raised."""
        return self.of_all([source])[source]

    def of_all(self, sources: Sequence[str]) -> dict[str, dict[str, Alarm]]:
        """The same for several sources, in one round trip."""
        pipe = self.client.pipeline(transaction=False)
        for source in sources:
            pipe.hgetall(keys.alarms(source))
        with state_errors():
            stored = cast("list[dict[bytes, bytes]]", pipe.execute() if sources else [])
        return {
            source: {
                kind.decode(): alarm
                for kind, text in sorted(records.items())
                if (alarm := self._records.read(keys.alarms(source), kind.decode(), text)) is not None
            }
            for source, records in zip(sources, stored, strict=True)
        }

    def compare_and_set(self, source: str, old: Alarm | None, new: Alarm) -> Alarm:
        """Replace `old` by `new`; returns the record that is stored now, `new` or another process's."""
        return self._records.compare_and_set(keys.alarms(source), new.kind, old, new)


def raised_alarms(client: redis.Redis, source: str) -> tuple[Alarm, ...]:
    """The alarms of a source that are raised now. Raises `StateUnavailable`."""
    return raised_alarms_of(client, [source])[source]


def raised_alarms_of(client: redis.Redis, sources: Sequence[str]) -> dict[str, tuple[Alarm, ...]]:
    """The same for several sources, in one round trip. Raises `StateUnavailable`."""
    every = Alarms(client).of_all(sources)
    return {name: tuple(alarm for alarm in of.values() if alarm.state == RAISED) for name, of in every.items()}
