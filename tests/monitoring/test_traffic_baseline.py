"""What was heard of a source: running totals, what is usual in a stretch of the week, and where it is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from bridge.monitoring.traffic_baseline import (
    GAP,
    WEEKS,
    Ledger,
    Note,
    Rhythms,
    hours_asked,
    listen,
    share_announced,
    usual,
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


def heard(*counts: int, start: float = NOON) -> Ledger:
    """A look a minute; `counts` is what the counter of the day says each time."""
    ledger: Ledger | None = None
    for number, count in enumerate(counts):
        now = start + number * MINUTE
        ledger = listen(ledger, now=now, counts={int(now // DAY): count}, rounds=())
    assert ledger is not None
    return ledger


def every_hour(per_hour: dict[int, int], *, start: float = MONDAY, weeks: int = 6) -> dict[int, Note]:
    """Notes of whole weeks; `per_hour`: hour of the week -> webhooks."""
    total, notes = 0, {}
    for hour in range(-1, weeks * 168):
        total += per_hour.get(hour % 168, 0) if hour >= 0 else 0
        notes[int(start // HOUR) + hour] = Note(total, 0)
    return notes


def test_what_came_before_the_first_look_does_not_count() -> None:
    ledger = heard(100)
    assert (ledger.webhooks, ledger.heard, ledger.quiet_since) == (0, None, NOON)


def test_webhooks_add_up_and_end_the_quiet() -> None:
    ledger = heard(100, 100, 103, 103)
    assert (ledger.webhooks, ledger.heard, ledger.quiet_since) == (3, NOON + 2 * MINUTE, NOON + 2 * MINUTE)


def test_midnight_loses_nothing() -> None:
    midnight = MONDAY + DAY
    before = heard(10, 14, start=midnight - 2 * MINUTE)
    day = int(midnight // DAY)
    after = listen(before, now=midnight + 1, counts={day - 1: 15, day: 2}, rounds=())
    assert after.webhooks == before.webhooks + 1 + 2


def test_rounds_count_once_and_a_webhook_ends_what_they_rescued() -> None:
    ledger = heard(5)
    rounds = [round_at(NOON + 90, 2), round_at(NOON + 30, 1), round_at(NOON - 30, 7)]
    ledger = listen(ledger, now=NOON + 100, counts={TODAY: 5}, rounds=rounds)
    again = listen(ledger, now=NOON + 160, counts={TODAY: 5}, rounds=[round_at(NOON + 150), *rounds])
    assert (again.rescued, again.rescued_before, again.rescuing) == (3, 0, 2)
    ended = listen(again, now=NOON + 220, counts={TODAY: 6}, rounds=rounds)
    assert (ended.rescued, ended.rescued_before, ended.rescuing) == (3, 3, 0)


@pytest.mark.parametrize("pause", [GAP + 1, 3 * DAY, -2 * HOUR])
def test_after_a_pause_of_the_looks_the_quiet_begins_anew(pause: float) -> None:
    ledger = heard(1, 2, 2)
    now = ledger.looked + pause
    again = listen(ledger, now=now, counts={int(now // DAY): 2}, rounds=[round_at(now - 5, 40)])
    assert (again.began, again.quiet_since, again.rescuing) == (now, now, 0)
    assert again.rescued == ledger.rescued


def test_a_look_that_is_overwritten_by_an_older_one_is_made_up_for_by_the_next() -> None:
    start = heard(10)
    early = listen(start, now=NOON + 60, counts={TODAY: 11}, rounds=[round_at(NOON + 50, 1)])
    late = listen(start, now=NOON + 61, counts={TODAY: 13}, rounds=[round_at(NOON + 60, 2), round_at(NOON + 50, 1)])
    rounds = [round_at(NOON + 60, 2), round_at(NOON + 50, 1)]
    for stands in (early, late):
        after = listen(stands, now=NOON + 120, counts={TODAY: 14}, rounds=rounds)
        assert (after.webhooks, after.rescued) == (4, 3)


def test_usual_is_what_the_same_stretch_of_the_last_weeks_had() -> None:
    # Mondays from 9 to 12: 10 an hour; the rest of the week nothing.
    notes = every_hour(dict.fromkeys(range(9, 12), 10))
    now = MONDAY + 5 * WEEK + 11 * HOUR
    assert usual(now - 90 * MINUTE, now, notes) == 10  # with the clocks an hour on only 10:30 to 12:00 minus an hour
    assert usual(now + 2 * DAY - HOUR, now + 2 * DAY, notes) == 0
    assert usual(now - 6 * DAY, now, notes) == 10


@pytest.mark.parametrize(("weeks", "expected"), [(1, None), (2, 20), (3, 20), (4, 20)])
def test_fewer_than_two_weeks_are_no_history(weeks: int, expected: int | None) -> None:
    notes = every_hour(dict.fromkeys(range(168), 10))
    now = MONDAY + 5 * WEEK + 11 * HOUR
    known = {hour: note for hour, note in notes.items() if hour >= (now - weeks * WEEK) // HOUR - 4}
    assert usual(now - 2 * HOUR, now, known) == expected


def test_neither_one_burst_nor_one_holiday_makes_a_rule() -> None:
    now = MONDAY + 5 * WEEK + 11 * HOUR
    total, notes = 0, {}
    for hour in range(-1, 5 * 168 + 12):
        week = hour // 168
        total += {1: 500, 3: 0}.get(week, 10) if hour >= 0 else 0
        notes[int(MONDAY // HOUR) + hour] = Note(total, 0)
    assert usual(now - 2 * HOUR, now, notes) == 20


def test_the_share_that_is_announced_is_that_of_the_weeks_before_the_silence() -> None:
    ledger = replace(heard(0), webhooks=1000, rescued=340, rescued_before=300, quiet_since=NOON + 4 * WEEK)
    assert share_announced(ledger, {int(NOON // HOUR): Note(100, 0)}) == pytest.approx(900 / 1201)
    week_ago = int((NOON + 3 * WEEK) // HOUR)
    assert share_announced(ledger, {week_ago: Note(910, 290)}) == pytest.approx(90 / 101)
    assert share_announced(ledger, {}) == 0.0


def test_what_is_saved_is_read_again_and_the_ring_forgets(any_state: redis.Redis) -> None:
    rhythms, ledger = Rhythms(any_state), heard(1, 2)
    assert rhythms.ledger("eu") is None
    rhythms.save("eu", ledger)
    hour = int(ledger.looked // HOUR)
    assert rhythms.ledger("eu") == ledger
    assert rhythms.notes("eu", [hour, hour - 1]) == {hour: Note(1, 0)}
    assert rhythms.notes("us", [hour]) == {}
    size = any_state.hlen(keys.rhythm("eu"))
    round_later = ((WEEKS + 1) * 7 + 1) * 24
    rhythms.save("eu", replace(ledger, looked=ledger.looked + round_later * HOUR))
    assert rhythms.notes("eu", [hour]) == {}
    assert set(rhythms.notes("eu", [hour + round_later])) == {hour + round_later}
    assert any_state.hlen(keys.rhythm("eu")) == size


def test_the_ring_holds_every_hour_that_is_asked_for(fake_state: redis.Redis) -> None:
    rhythms, ledger = Rhythms(fake_state), heard(1)
    end = NOON + 7 * WEEK
    moment = NOON
    while moment <= end:
        rhythms.save("eu", replace(ledger, looked=moment))
        moment += HOUR
    asked = hours_asked(end - 8 * DAY, end)
    known = rhythms.notes("eu", asked)
    # The share may look a little farther back than the ring when the silence is longer than a week.
    assert {hour for hour in asked if hour >= end // HOUR - 5 * 168 - 2} <= set(known)
