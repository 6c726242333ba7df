"""How often a source is usually heard: its webhooks by hour of the week, and what polls found without them.

Every look adds to running totals and notes them for the hour. A number of webhooks is then the difference of two notes,
and what is usual for a stretch of time is what the same stretch of the last weeks had.

Looks may be made by several processes at once: totals move together with what they were counted from, so a look that is
overwritten by an older one is made up for by the next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import cast

import redis

from bridge.polling.cursors import RoundReport
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["GAP", "WEEKS", "Ledger", "Note", "Rhythms", "hours_asked", "listen", "share_announced", "usual"]

#: Longest time between two looks that count as one after the other, seconds. What nobody watched proves nothing.
GAP = 600.0
#: How many weeks are compared.
WEEKS = 4
_HOUR, _DAY, _WEEK = 3600.0, 86_400.0, 604_800.0
#: Hours kept: the weeks compared, the longest stretch (a week), and a little.
_RING = (WEEKS + 1) * 168 + 24
#: A stretch is also compared with its start and end an hour earlier or later: people's clocks change in spring and
#: autumn, ours in UTC do not. The last one is for a change inside the stretch, which then holds a night.
_SHIFTS = ((0.0, 0.0), (-_HOUR, -_HOUR), (_HOUR, _HOUR), (0.0, -_HOUR))
_NIGHT = 8 * _HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What was heard of a source up to the last look. Moments are UNIX seconds; totals are since ever.

    `began`: since when looks have followed one another. `day`, `counted`: the webhooks of that UTC day that `webhooks`
    includes. `rescued`: attempts that rounds of polling published first, of rounds that ended by `read_until`.
    `heard`: the last webhook, None before the first. `quiet_since`: `heard`, or `began` if that is later.
    `rescued_before`: `rescued` at that moment. `rescuing`: rounds since then that rescued something.
    `dry_since`, `dry_at`: the first and the last look of those that found no call left; None while there are calls.
    """

    began: float
    looked: float
    day: int
    counted: int
    webhooks: int
    rescued: int
    read_until: float
    heard: float | None
    quiet_since: float
    rescued_before: int
    rescuing: int
    dry_since: float | None = None
    dry_at: float | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """The totals at the last look of an hour."""

    webhooks: int
    rescued: int


def listen(old: Ledger | None, *, now: float, counts: Mapping[int, int], rounds: Sequence[RoundReport]) -> Ledger:
    """The ledger after a look. `counts`: webhooks of this UTC day and the one before; `rounds`: the last ones."""
    today = int(now // _DAY)
    if old is None or not 0 <= now - old.looked <= GAP:
        old = _afresh(old, now)
    webhooks = _webhooks_since(old, today, counts)
    fresh = [one for one in rounds if one.started + one.seconds > old.read_until]
    found = [one.outcomes.get("published", 0) for one in fresh]
    ledger = replace(
        old,
        looked=now,
        day=today,
        counted=counts.get(today, 0),
        webhooks=old.webhooks + webhooks,
        rescued=old.rescued + sum(found),
        read_until=max((one.started + one.seconds for one in fresh), default=old.read_until),
    )
    if webhooks:
        return replace(ledger, heard=now, quiet_since=now, rescued_before=ledger.rescued, rescuing=0)
    return replace(ledger, rescuing=ledger.rescuing + sum(1 for number in found if number))


def usual(since: float, now: float, notes: Mapping[int, Note]) -> int | None:
    """Webhooks that are usual between two moments, at most a week apart: the lower median of the same stretch of the
    last weeks, so that neither one burst nor one holiday makes a rule. None: fewer than two weeks are known."""
    weeks = []
    for week in _stretches(since, now):
        moved = [_between(start, end, notes) for start, end in week]
        if moved[0] is not None:
            weeks.append(min(number for number in moved if number is not None))
    return None if len(weeks) < 2 else int(sorted(weeks)[(len(weeks) - 1) // 2])


def share_announced(ledger: Ledger, notes: Mapping[int, Note]) -> float:
    """The share of attempts that webhooks announced before a poll found them, over the weeks before the silence."""
    for week in range(WEEKS, 0, -1):
        note = notes.get(_hour(ledger.quiet_since - week * _WEEK))
        if note is not None:
            announced = ledger.webhooks - note.webhooks
            # One more, so that a few without a loss do not pass for certainty.
            return announced / (announced + ledger.rescued_before - note.rescued + 1)
    return 0.0


def hours_asked(since: float, now: float) -> list[int]:
    """The hours (since 1970) whose notes `usual` and `share_announced` look at."""
    moments = [moment for week in _stretches(since, now) for stretch in week for moment in stretch]
    moments += [since - week * _WEEK for week in range(1, WEEKS + 1)]
    return sorted({hour for moment in moments for hour in (_hour(moment) - 1, _hour(moment))})


class Rhythms:
    """The rhythms of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def ledger(self, source: str) -> Ledger | None:
        """What was heard up to the last look; None before the first."""
        with state_errors():
            found = cast("bytes | None", self.client.hget(keys.rhythm(source), "ledger"))
        return None if found is None else Ledger(**json.loads(found))

    def notes(self, source: str, hours: Sequence[int]) -> dict[int, Note]:
        """Those of the hours that were noted."""
        with state_errors():
            found = cast("list[bytes | None]", self.client.hmget(keys.rhythm(source), [_slot(hour) for hour in hours]))
        notes = {}
        for hour, text in zip(hours, found, strict=True):
            noted, webhooks, rescued = map(int, text.split()) if text else (-1, 0, 0)
            # The slot of an hour that nobody watched still holds the hour one ring before.
            if noted == hour:
                notes[hour] = Note(webhooks, rescued)
        return notes

    def save(self, source: str, ledger: Ledger) -> None:
        """Keep the ledger, and its totals for the hour of its look."""
        hour = _hour(ledger.looked)
        note = f"{hour} {ledger.webhooks} {ledger.rescued}"
        with state_errors():
            self.client.hset(keys.rhythm(source), mapping={"ledger": json.dumps(asdict(ledger)), _slot(hour): note})


def _afresh(old: Ledger | None, now: float) -> Ledger:
    """A ledger whose looks begin now; what is known for ever stays."""
    if old is None:
        old = Ledger(
            began=now,
            looked=now,
            # So that nothing of before counts.
            day=-1,
            counted=0,
            webhooks=0,
            rescued=0,
            read_until=now,
            heard=None,
            quiet_since=now,
            rescued_before=0,
            rescuing=0,
        )
    # What rounds find now may be from the time that nobody watched, when webhooks had no chance either.
    return replace(
        old,
        began=now,
        quiet_since=now,
        rescued_before=old.rescued,
        rescuing=0,
        read_until=now,
        dry_since=None,
        dry_at=None,
    )


def _webhooks_since(old: Ledger, today: int, counts: Mapping[int, int]) -> int:
    if old.day < 0:
        return 0
    if old.day == today:
        return max(0, counts.get(today, 0) - old.counted)
    # After more than a day the rest is lost; totals that are too low only make us slower.
    before = old.counted if old.day == today - 1 else 0
    return max(0, counts.get(today - 1, 0) - before) + counts.get(today, 0)


def _stretches(since: float, now: float) -> list[list[tuple[float, float]]]:
    """For each of the last weeks the same stretch and, as near, its shifted ones; at most a week long."""
    since = max(since, now - _WEEK)
    shifts = _SHIFTS if now - since > _NIGHT else _SHIFTS[:-1]
    weeks = [week * _WEEK for week in range(1, WEEKS + 1)]
    return [[(since - week + first, now - week + last) for first, last in shifts] for week in weeks]


def _between(start: float, end: float, notes: Mapping[int, Note]) -> float | None:
    first, last = _total(start, notes), _total(end, notes)
    return None if first is None or last is None else last - first


def _total(moment: float, notes: Mapping[int, Note]) -> float | None:
    """Webhooks up to a moment: inside its hour they came evenly, as far as we know."""
    hour = _hour(moment)
    before, after = notes.get(hour - 1), notes.get(hour)
    if before is None or after is None:
        return None
    return before.webhooks + (after.webhooks - before.webhooks) * (moment / _HOUR - hour)


def _hour(moment: float) -> int:
    return int(moment // _HOUR)


def _slot(hour: int) -> str:
    return str(hour % _RING)
