"""How many webhooks a source normally sends, by hour of the week, and how many attempts only polling found.

Every check adds to running totals and saves them for the current hour. The webhooks of a period are the difference of
two totals; the baseline of a period is what the same period had in recent weeks.

Several processes may check at once: the totals and what they were counted from are stored together, so when an older
check overwrites a newer one, the next check makes up for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import redis

from bridge.polling.cursors import RoundReport
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.stored_json import record_or_none, to_members

__all__ = [
    "BASELINE_WEEKS",
    "CLOCK_TOLERANCE",
    "MAX_GAP_SECONDS",
    "HourlyTotals",
    "TrafficBaselines",
    "TrafficState",
    "announced_share",
    "expected_webhooks",
    "hours_needed",
    "observe",
]

#: Longest time between two checks without starting over: a period that was not watched proves nothing.
MAX_GAP_SECONDS = 600.0
#: Seconds by which a stored moment may be in the future: the clocks of processes differ.
CLOCK_TOLERANCE = 300.0
#: Number of weeks that are compared.
BASELINE_WEEKS = 4
_HOUR, _DAY, _WEEK = 3600.0, 86_400.0, 604_800.0
#: Hours kept: the weeks compared, the longest period (a week), and a margin.
_RING_HOURS = (BASELINE_WEEKS + 1) * 168 + 24
#: A period is also compared with its start and end an hour earlier or later: local clocks change in spring and autumn,
#: UTC does not. The last one covers a change within the period, which then includes a night.
_SHIFTS = ((0.0, 0.0), (-_HOUR, -_HOUR), (_HOUR, _HOUR), (0.0, -_HOUR))
_NIGHT = 8 * _HOUR
#: Field of `TrafficState` -> member of its stored JSON, where the names differ.
_MEMBERS = {
    "watched_since": "began",
    "checked_at": "looked",
    "day_count": "counted",
    "found_by_polling": "rescued",
    "rounds_read_until": "read_until",
    "last_webhook_at": "heard",
    "found_before_quiet": "rescued_before",
    "rounds_with_finds": "rescuing",
    "no_calls_since": "dry_since",
    "no_calls_at": "dry_at",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficState:
    """The traffic of a source up to the last check. Times are UNIX seconds, totals are since the first check."""

    #: Start of the unbroken series of checks.
    watched_since: float
    #: Time of the last check.
    checked_at: float
    #: UTC day of the last check, days since 1970; negative before the first one.
    day: int
    #: Webhooks of that day that `webhooks` includes.
    day_count: int
    #: Total of webhooks.
    webhooks: int
    #: Total of attempts that a poll published before any webhook.
    found_by_polling: int
    #: Polling rounds that ended by then are included in `found_by_polling`.
    rounds_read_until: float
    #: Last webhook; None before the first.
    last_webhook_at: float | None
    #: `last_webhook_at`, or `watched_since` if that is later.
    quiet_since: float
    #: `found_by_polling` at `quiet_since`.
    found_before_quiet: int
    #: Polling rounds since `quiet_since` that published an attempt first.
    rounds_with_finds: int
    #: First of the checks in a row that found no call left; None while there are calls.
    no_calls_since: float | None = None
    #: Last of those checks.
    no_calls_at: float | None = None
    #: Members of a later version.
    later: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class HourlyTotals:
    """The totals at the last check of an hour."""

    #: Total of webhooks.
    webhooks: int
    #: Total of attempts that a poll published before any webhook.
    found_by_polling: int


def observe(
    old: TrafficState | None, *, now: float, counts: Mapping[int, int], rounds: Sequence[RoundReport]
) -> TrafficState:
    """The state after a check.

    `counts`: UTC day -> its webhooks, for today and yesterday. `rounds`: the latest polling rounds.
    """
    today = int(now // _DAY)
    if old is None or not 0 <= now - old.checked_at <= MAX_GAP_SECONDS:
        old = _restarted(old, now)
    webhooks = _webhooks_since(old, today, counts)
    # A round that ends in the future ran before the clock was set back.
    ends = old.rounds_read_until, now + CLOCK_TOLERANCE
    new_rounds = [report for report in rounds if ends[0] < report.started + report.seconds <= ends[1]]
    finds = [report.outcomes.get("published", 0) for report in new_rounds]
    found_by_polling = old.found_by_polling + sum(finds)
    quiet: dict[str, Any] = {"rounds_with_finds": old.rounds_with_finds + sum(1 for number in finds if number)}
    if webhooks:
        quiet = {
            "last_webhook_at": now,
            "quiet_since": now,
            "found_before_quiet": found_by_polling,
            "rounds_with_finds": 0,
        }
    return replace(
        old,
        checked_at=now,
        day=today,
        day_count=counts.get(today, 0),
        webhooks=old.webhooks + webhooks,
        found_by_polling=found_by_polling,
        rounds_read_until=max(
            (report.started + report.seconds for report in new_rounds), default=old.rounds_read_until
        ),
        **quiet,
    )


def expected_webhooks(since: float, now: float, hourly: Mapping[int, HourlyTotals]) -> int | None:
    """The baseline of a period of at most a week; None if fewer than two weeks are known.

    It is the lower median of the same period in recent weeks: neither a burst nor a holiday distorts it.
    """
    weeks = []
    for periods in _comparison_periods(since, now):
        numbers = [_webhooks_between(start, end, hourly) for start, end in periods]
        if numbers[0] is not None:
            weeks.append(min(number for number in numbers if number is not None))
    return None if len(weeks) < 2 else int(sorted(weeks)[(len(weeks) - 1) // 2])


def announced_share(traffic: TrafficState, hourly: Mapping[int, HourlyTotals]) -> float:
    """The share of attempts that webhooks announced before a poll found them, in the weeks before the silence."""
    for week in range(BASELINE_WEEKS, 0, -1):
        totals = hourly.get(_hour(traffic.quiet_since - week * _WEEK))
        if totals is not None:
            announced = traffic.webhooks - totals.webhooks
            # Plus 1, so that a small number without a miss does not count as certainty.
            return announced / (announced + traffic.found_before_quiet - totals.found_by_polling + 1)
    return 0.0


def hours_needed(since: float, now: float) -> list[int]:
    """The hours since 1970 whose totals `expected_webhooks` and `announced_share` use."""
    moments = [moment for periods in _comparison_periods(since, now) for period in periods for moment in period]
    moments += [since - week * _WEEK for week in range(1, BASELINE_WEEKS + 1)]
    return sorted({hour for moment in moments for hour in (_hour(moment) - 1, _hour(moment))})


class TrafficBaselines:
    """The stored traffic of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def traffic(self, source: str) -> TrafficState | None:
        """The traffic up to the last check; None before the first."""
        return self.traffics([source])[source]

    def traffics(self, sources: Sequence[str]) -> dict[str, TrafficState | None]:
        """The same for several, in one round trip."""
        pipe = self.client.pipeline(transaction=False)
        for source in sources:
            pipe.hget(keys.rhythm(source), "ledger")
        with state_errors():
            stored = cast("list[bytes | None]", pipe.execute() if sources else [])
        return dict(zip(sources, map(_traffic, sources, stored), strict=True))

    def hourly(self, source: str, hours: Sequence[int]) -> dict[int, HourlyTotals]:
        """Hour since 1970 -> its totals, for those of `hours` that are stored."""
        with state_errors():
            slots = cast("list[bytes | None]", self.client.hmget(keys.rhythm(source), [_slot(hour) for hour in hours]))
        hourly = {}
        for hour, text in zip(hours, slots, strict=True):
            stored_hour, webhooks, found_by_polling = map(int, text.split()) if text else (-1, 0, 0)
            # The slot of an hour that was not watched still holds the hour one ring earlier.
            if stored_hour == hour:
                hourly[hour] = HourlyTotals(webhooks, found_by_polling)
        return hourly

    def save(self, source: str, traffic: TrafficState) -> None:
        """Store the traffic, and its totals for the hour of its check."""
        hour = _hour(traffic.checked_at)
        stored = json.dumps(to_members(traffic, names=_MEMBERS))
        totals = f"{hour} {traffic.webhooks} {traffic.found_by_polling}"
        with state_errors():
            self.client.hset(keys.rhythm(source), mapping={"ledger": stored, _slot(hour): totals})


def _restarted(old: TrafficState | None, now: float) -> TrafficState:
    """The state whose checks start now; totals are kept."""
    if old is None:
        old = TrafficState(
            watched_since=now,
            checked_at=now,
            # Earlier webhooks must not count.
            day=-1,
            day_count=0,
            webhooks=0,
            found_by_polling=0,
            rounds_read_until=now,
            last_webhook_at=None,
            quiet_since=now,
            found_before_quiet=0,
            rounds_with_finds=0,
        )
    # What polls find now may be from the time without checks, when no webhook could arrive either.
    return replace(
        old,
        watched_since=now,
        quiet_since=now,
        found_before_quiet=old.found_by_polling,
        rounds_with_finds=0,
        rounds_read_until=now,
        no_calls_since=None,
        no_calls_at=None,
    )


def _webhooks_since(old: TrafficState, today: int, counts: Mapping[int, int]) -> int:
    if old.day < 0:
        return 0
    if old.day == today:
        return max(0, counts.get(today, 0) - old.day_count)
    # After more than a day the rest is lost; a total that is too low only delays an alarm.
    counted = old.day_count if old.day == today - 1 else 0
    return max(0, counts.get(today - 1, 0) - counted) + counts.get(today, 0)


def _comparison_periods(since: float, now: float) -> list[list[tuple[float, float]]]:
    """For each recent week the same period, at most a week long, followed by its shifted copies."""
    since = max(since, now - _WEEK)
    shifts = _SHIFTS if now - since > _NIGHT else _SHIFTS[:-1]
    weeks = [week * _WEEK for week in range(1, BASELINE_WEEKS + 1)]
    return [[(since - week + first, now - week + last) for first, last in shifts] for week in weeks]


def _webhooks_between(start: float, end: float, hourly: Mapping[int, HourlyTotals]) -> float | None:
    first, last = _webhooks_until(start, hourly), _webhooks_until(end, hourly)
    return None if first is None or last is None else last - first


def _webhooks_until(moment: float, hourly: Mapping[int, HourlyTotals]) -> float | None:
    """The total of webhooks at a moment, interpolated within its hour; None if the hour is not known."""
    hour = _hour(moment)
    before, after = hourly.get(hour - 1), hourly.get(hour)
    if before is None or after is None:
        return None
    return before.webhooks + (after.webhooks - before.webhooks) * (moment / _HOUR - hour)


def _hour(moment: float) -> int:
    return int(moment // _HOUR)


def _slot(hour: int) -> str:
    return str(hour % _RING_HOURS)


def _traffic(source: str, stored: bytes | None) -> TrafficState | None:
    if stored is None:
        return None
    return record_or_none(TrafficState, stored, place=f"{keys.rhythm(source)} ledger", names=_MEMBERS)
