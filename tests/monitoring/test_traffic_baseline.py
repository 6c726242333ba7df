"""What was heard of a source: running totals, what is usual in a stretch of the week, and where it is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from bridge.monitoring.traffic_baseline import (
    BASELINE_WEEKS,
    MAX_GAP_SECONDS,
    HourlyTotals,
    TrafficBaselines,
    TrafficState,
    announced_share,
    expected_webhooks,
    hours_needed,
    observe,
)
from bridge.polling.cursors import RoundReport
from bridge.state import keys
from tests.support.watching import DAY, HOUR, MINUTE, MONDAY, WEEK

NOON = MONDAY + 12 * HOUR
TODAY = int(NOON // DAY)


def round_at(moment: float, published: int = 0) -> RoundReport:
    return RoundReport(
        stream="results",
        from_cursor="",
        to_cursor="",
        started=moment - 1,
        seconds=1.0,
        outcomes={"published": published, "duplicate": 3},
    )


def observed(*counts: int, start: float = NOON) -> TrafficState:
    """One check a minute; `counts` is what the counter of the day says each time."""
    traffic: TrafficState | None = None
    for number, count in enumerate(counts):
        now = start + number * MINUTE
        traffic = observe(traffic, now=now, counts={int(now // DAY): count}, rounds=())
    assert traffic is not None
    return traffic


def every_hour(per_hour: dict[int, int], *, start: float = MONDAY, weeks: int = 6) -> dict[int, HourlyTotals]:
    """Notes of whole weeks; `per_hour`: hour of the week -> webhooks."""
    total, hourly = 0, {}
    for hour in range(-1, weeks * 168):
        total += per_hour.get(hour % 168, 0) if hour >= 0 else 0
        hourly[int(start // HOUR) + hour] = HourlyTotals(total, 0)
    return hourly


def test_webhooks_before_the_first_check_do_not_count() -> None:
    traffic = observed(100)
    assert (traffic.webhooks, traffic.last_webhook_at, traffic.quiet_since) == (0, None, NOON)


def test_webhooks_add_up_and_end_the_silence() -> None:
    traffic = observed(100, 100, 103, 103)
    assert (traffic.webhooks, traffic.last_webhook_at, traffic.quiet_since) == (3, NOON + 2 * MINUTE, NOON + 2 * MINUTE)


def test_midnight_loses_nothing() -> None:
    midnight = MONDAY + DAY
    before = observed(10, 14, start=midnight - 2 * MINUTE)
    day = int(midnight // DAY)
    after = observe(before, now=midnight + 1, counts={day - 1: 15, day: 2}, rounds=())
    assert after.webhooks == before.webhooks + 1 + 2


def test_rounds_count_once_and_a_webhook_resets_the_finds() -> None:
    traffic = observed(5)
    rounds = [round_at(NOON + 90, 2), round_at(NOON + 30, 1), round_at(NOON - 30, 7)]
    traffic = observe(traffic, now=NOON + 100, counts={TODAY: 5}, rounds=rounds)
    again = observe(traffic, now=NOON + 160, counts={TODAY: 5}, rounds=[round_at(NOON + 150), *rounds])
    assert (again.found_by_polling, again.found_before_quiet, again.rounds_with_finds) == (3, 0, 2)
    ended = observe(again, now=NOON + 220, counts={TODAY: 6}, rounds=[round_at(NOON + 200, 4), *rounds])
    assert (ended.found_by_polling, ended.found_before_quiet, ended.rounds_with_finds) == (7, 7, 0)


@pytest.mark.parametrize("pause", [MAX_GAP_SECONDS + 1, 3 * DAY, -2 * HOUR])
def test_after_a_gap_between_checks_the_silence_starts_over(pause: float) -> None:
    traffic = observed(1, 2, 2)
    now = traffic.checked_at + pause
    again = observe(traffic, now=now, counts={int(now // DAY): 2}, rounds=[round_at(now - 5, 40)])
    assert (again.watched_since, again.quiet_since, again.rounds_with_finds) == (now, now, 0)
    assert again.found_by_polling == traffic.found_by_polling


def test_a_check_overwritten_by_an_older_one_is_made_up_for_by_the_next() -> None:
    start = observed(10)
    early = observe(start, now=NOON + 60, counts={TODAY: 11}, rounds=[round_at(NOON + 50, 1)])
    late = observe(start, now=NOON + 61, counts={TODAY: 13}, rounds=[round_at(NOON + 60, 2), round_at(NOON + 50, 1)])
    rounds = [round_at(NOON + 60, 2), round_at(NOON + 50, 1)]
    for stands in (early, late):
        after = observe(stands, now=NOON + 120, counts={TODAY: 14}, rounds=rounds)
        assert (after.webhooks, after.found_by_polling) == (4, 3)


def test_the_baseline_is_what_the_same_period_of_recent_weeks_had() -> None:
    # Mondays from 9 to 12: 10 an hour; the rest of the week nothing.
    hourly = every_hour(dict.fromkeys(range(9, 12), 10))
    now = MONDAY + 5 * WEEK + 11 * HOUR
    assert (
        expected_webhooks(now - 90 * MINUTE, now, hourly) == 10
    )  # with the clocks an hour on only 10:30 to 12:00 minus an hour
    assert expected_webhooks(now + 2 * DAY - HOUR, now + 2 * DAY, hourly) == 0
    assert expected_webhooks(now - 6 * DAY, now, hourly) == 10


@pytest.mark.parametrize(("weeks", "expected"), [(1, None), (2, 20), (3, 20), (4, 20)])
def test_fewer_than_two_weeks_give_no_baseline(weeks: int, expected: int | None) -> None:
    hourly = every_hour(dict.fromkeys(range(168), 10))
    now = MONDAY + 5 * WEEK + 11 * HOUR
    known = {hour: note for hour, note in hourly.items() if hour >= (now - weeks * WEEK) // HOUR - 4}
    assert expected_webhooks(now - 2 * HOUR, now, known) == expected


def test_neither_a_burst_nor_a_holiday_changes_the_baseline() -> None:
    now = MONDAY + 5 * WEEK + 11 * HOUR
    total, hourly = 0, {}
    for hour in range(-1, 5 * 168 + 12):
        week = hour // 168
        total += {1: 500, 3: 0}.get(week, 10) if hour >= 0 else 0
        hourly[int(MONDAY // HOUR) + hour] = HourlyTotals(total, 0)
    assert expected_webhooks(now - 2 * HOUR, now, hourly) == 20


def test_the_announced_share_is_that_of_the_weeks_before_the_silence() -> None:
    traffic = replace(
        observed(0), webhooks=1000, found_by_polling=340, found_before_quiet=300, quiet_since=NOON + 4 * WEEK
    )
    assert announced_share(traffic, {int(NOON // HOUR): HourlyTotals(100, 0)}) == pytest.approx(900 / 1201)
    week_ago = int((NOON + 3 * WEEK) // HOUR)
    assert announced_share(traffic, {week_ago: HourlyTotals(910, 290)}) == pytest.approx(90 / 101)
    assert announced_share(traffic, {}) == 0.0


def test_saved_traffic_is_read_back_and_old_hours_are_overwritten(state: redis.Redis) -> None:
    baselines, traffic = TrafficBaselines(state), observed(1, 2)
    assert baselines.traffic("eu") is None
    baselines.save("eu", traffic)
    hour = int(traffic.checked_at // HOUR)
    assert baselines.traffic("eu") == traffic
    assert baselines.hourly("eu", [hour, hour - 1]) == {hour: HourlyTotals(1, 0)}
    assert baselines.hourly("us", [hour]) == {}
    size = state.hlen(keys.rhythm("eu"))
    round_later = ((BASELINE_WEEKS + 1) * 7 + 1) * 24
    baselines.save("eu", replace(traffic, checked_at=traffic.checked_at + round_later * HOUR))
    assert baselines.hourly("eu", [hour]) == {}
    assert set(baselines.hourly("eu", [hour + round_later])) == {hour + round_later}
    assert state.hlen(keys.rhythm("eu")) == size


def test_the_ring_holds_every_hour_that_is_needed(state: redis.Redis) -> None:
    baselines, traffic = TrafficBaselines(state), observed(1)
    end = NOON + 7 * WEEK
    moment = NOON
    while moment <= end:
        baselines.save("eu", replace(traffic, checked_at=moment))
        moment += HOUR
    asked = hours_needed(end - 8 * DAY, end)
    known = baselines.hourly("eu", asked)
    # The share may reach a little farther back than the ring when the silence is longer than a week.
    assert {hour for hour in asked if hour >= end // HOUR - 5 * 168 - 2} <= set(known)


def test_rounds_from_before_the_clock_was_set_back_do_not_hide_the_later_ones() -> None:
    before = observe(None, now=NOON + 2 * HOUR, counts={}, rounds=())
    rounds = [round_at(NOON + 2 * HOUR, 5)]
    after = observe(before, now=NOON, counts={}, rounds=rounds)
    later = observe(after, now=NOON + MINUTE, counts={}, rounds=[round_at(NOON + 30.0, 2), *rounds])
    assert (after.found_by_polling, later.found_by_polling) == (0, 2)
