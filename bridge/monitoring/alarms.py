"""Alarms of a source: when one is raised, repeated and over, and how each stands, readable for people and gauges.

`bridge/monitoring/source_health.py` judges what is wrong. This module decides when to say so: once when an alarm is
raised, once a day while it lasts, once when it ends. Each change is agreed in the state before it is announced, so
several processes that judge at the same moment say the same, and what a killed one left unsaid the next one says.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import cast

import redis

from bridge.ingest import notices
from bridge.ingest.notices import Notice
from bridge.monitoring.source_health import Trouble
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.text import duration_text

__all__ = ["QUIET", "RAISED", "RECOVERED", "Alarm", "Alarms", "announcement", "read", "step"]

RAISED, RECOVERED = "raised", "recovered"
#: After its end an alarm is not raised again for so long, seconds: what comes and goes is one trouble, not ten.
QUIET = 900.0
_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """How one kind of alarm of a source stands: `raised` or `recovered`. Moments are UNIX seconds.

    `since`: when the trouble began. `raised_at`: when it was noticed. `at`: when this record was made. `repeats`: how
    many days it has been said again. `told`: whether all this is on the journal.
    """

    kind: str
    state: str
    since: float
    raised_at: float
    at: float
    repeats: int
    told: bool
    fact: str
    value: str
    remedy: str


def step(old: Alarm | None, kind: str, trouble: Trouble | None, now: float) -> Alarm | None:
    """How the alarm stands after a judgement; None: it was never raised. Pure."""
    if old is not None and not old.told:
        return old
    if old is None or old.state == RECOVERED:
        if trouble is None or (old is not None and now - old.at < QUIET):
            return old
        return Alarm(
            kind=kind,
            state=RAISED,
            since=trouble.since,
            raised_at=now,
            at=now,
            repeats=0,
            told=False,
            fact=trouble.fact,
            value=trouble.value,
            remedy=trouble.remedy,
        )
    if trouble is None:
        return replace(old, state=RECOVERED, at=now, told=False)
    days = int((now - old.raised_at) // _DAY)
    return replace(old, repeats=days, at=now, value=trouble.value, told=False) if days > old.repeats else old


def announcement(source: str, alarm: Alarm) -> Notice:
    """What is published of an alarm: the same for every process, as it is made of the record alone."""
    value, remedy, turn = alarm.value, alarm.remedy, str(alarm.repeats)
    if alarm.state == RECOVERED:
        minutes = max(1, round((alarm.at - alarm.since) / 60))
        value, remedy, turn = f"over after {duration_text(minutes * 60.0)}", "none is needed", RECOVERED
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
        self._agree = scripts.register(client, __file__, "agree")

    def of(self, source: str) -> dict[str, Alarm]:
        """Kind -> how it stands, of the kinds that were ever raised."""
        with state_errors():
            found = cast("dict[bytes, bytes]", self.client.hgetall(keys.alarms(source)))
        return {kind.decode(): Alarm(**json.loads(text)) for kind, text in sorted(found.items())}

    def agree(self, source: str, old: Alarm | None, new: Alarm) -> Alarm:
        """Put `new` in the place of `old`; the answer is what stands, `new` or what somebody else has put there."""
        before = "" if old is None else _text(old)
        with state_errors():
            stands = self._agree(keys=[keys.alarms(source)], args=[new.kind, before, _text(new)])
        return Alarm(**json.loads(cast("bytes", stands)))


def read(client: redis.Redis, source: str) -> tuple[Alarm, ...]:
    """The alarms of a source that are up now. Raises `StateUnavailable`."""
    return tuple(alarm for alarm in Alarms(client).of(source).values() if alarm.state == RAISED)


def _text(alarm: Alarm) -> str:
    return json.dumps(asdict(alarm), separators=(",", ":"))
