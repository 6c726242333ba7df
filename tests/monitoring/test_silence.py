"""The silence of webhooks, over simulated months: no false alarm in normal ones, and found within a stated time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bridge.monitoring.source_health import assess
from bridge.monitoring.traffic_baseline import hours_needed
from schemas.notices import WEBHOOKS_SILENT
from tests.support.watching import DAY, HOUR, MINUTE, MONDAY, STEP, WEEK, Simulated, learnt, working_hours

pytestmark = pytest.mark.long

#: A Tuesday in the fifth week, 10:00.
TUESDAY = MONDAY + 4 * WEEK + DAY + 10 * HOUR
FRIDAY_EVENING = MONDAY + 4 * WEEK + 4 * DAY + 17 * HOUR


def until(moment: float, share: float = 0.98) -> Callable[[float], float]:
    return lambda now: share if now < moment else 0.0


@pytest.mark.parametrize("polled", [True, False], ids=["polled", "webhooks only"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_normal_month_has_no_alarm(seed: int, polled: bool) -> None:
    source = learnt(seed=seed, polled=polled)
    assert list(source.run(MONDAY + 6 * WEEK)) == []
    assert source.traffic is not None
    assert source.traffic.webhooks > 3000


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_webhooks_that_are_often_lost_raise_no_alarm(share: float) -> None:
    assert list(Simulated(announces=lambda _moment: share).run(MONDAY + 5 * WEEK)) == []


@pytest.mark.parametrize(
    ("stop", "polled", "within"),
    [
        # With polls: a handful of attempts that no webhook announced, over three rounds.
        (TUESDAY, True, HOUR),
        (FRIDAY_EVENING, True, HOUR),
        # Without: as many webhooks missing as are no accident; 12 an hour are usual, and an hour is given to shifts.
        (TUESDAY, False, 3 * HOUR),
        (FRIDAY_EVENING, False, 3 * DAY),
    ],
)
def test_a_silence_is_found_in_time_and_ends_with_the_first_webhook(stop: float, polled: bool, within: float) -> None:
    source = learnt(polled=polled, announces=until(stop))
    ((raised_at, problem),) = source.run(stop + 4 * DAY)
    assert problem is not None
    assert stop <= problem.since + 2 * HOUR
    assert raised_at <= stop + within
    assert "webhooks have stopped" in problem.fact
    # Two hours of working time are enough for one webhook to come.
    source.announces = lambda _moment: 1.0
    ((_, nothing),) = source.run(stop + 4 * DAY + 2 * DAY)
    assert nothing is None
    assert source.raised == {}


def test_nights_and_weekends_during_a_silence_do_not_speed_up_the_alarm() -> None:
    """Webhooks stop when nobody sits a test anyway: the alarm waits until somebody does."""
    night = MONDAY + 4 * WEEK + DAY + 23 * HOUR
    ((raised_at, _),) = Simulated(bursts=False, announces=until(night)).run(night + 2 * DAY)
    assert night + 9 * HOUR <= raised_at <= night + 11 * HOUR


def test_while_polling_finds_nothing_either_there_is_no_alarm() -> None:
    closed = learnt(rate=lambda moment: working_hours(moment) if moment < TUESDAY else 0.0)
    assert list(closed.run(TUESDAY + 2 * WEEK)) == []


def test_a_new_source_without_a_baseline_has_no_alarm() -> None:
    for polled in (True, False):
        source = Simulated(polled=polled, announces=until(MONDAY + 10 * DAY))
        assert list(source.run(MONDAY + 13 * DAY)) == []


def test_a_source_that_never_had_webhooks_has_no_alarm() -> None:
    assert list(Simulated(announces=lambda _moment: 0.0).run(MONDAY + 4 * WEEK)) == []


def test_a_holiday_of_a_week_does_not_make_silence_normal() -> None:
    """For a source that only webhooks tell of the holiday is a silence itself; the next one is found all the same."""

    def rate(moment: float) -> float:
        return 0.0 if MONDAY + 3 * WEEK <= moment < MONDAY + 4 * WEEK else working_hours(moment)

    changes = list(learnt(rate=rate, polled=False, announces=until(TUESDAY)).run(TUESDAY + DAY))
    assert [problem is not None for _, problem in changes] == [True, False, True]
    assert changes[1][0] < MONDAY + 4 * WEEK + 9 * HOUR
    assert TUESDAY < changes[2][0] <= TUESDAY + 3 * HOUR


def test_a_clock_change_raises_no_alarm() -> None:
    """In UTC everybody comes an hour later from one Sunday on; only webhooks tell, 40 in the first hour of the day."""

    def rate(moment: float) -> float:
        day, hour = int((moment - MONDAY) // DAY), (moment - MONDAY) % DAY / HOUR
        opens = 8 if day < 34 else 9
        return 40.0 if opens <= hour < opens + 8 and day % 7 < 5 else 0.0

    assert list(Simulated(rate=rate, polled=False, bursts=False).run(MONDAY + 6 * WEEK)) == []


def test_the_backlog_after_an_outage_of_ours_raises_no_alarm() -> None:
    """Nobody listened for five hours: webhooks were refused, and the first round finds dozens of attempts at once."""
    source = learnt(announces=until(TUESDAY))
    assert list(source.run(TUESDAY)) == []
    assert list(source.run(TUESDAY + 5 * HOUR, watched=False)) == []
    source.announces = lambda _moment: 0.98
    assert list(source.run(TUESDAY + 2 * DAY)) == []


def test_one_round_that_finds_many_is_not_enough() -> None:
    source = learnt(announces=until(TUESDAY))
    assert list(source.run(TUESDAY)) == []
    while source.traffic is not None and source.traffic.rounds_with_finds < 2:
        source.rate = lambda _moment: 400.0
        assert list(source.run(source.now + STEP)) == []
    assert source.traffic is not None
    assert source.traffic.found_by_polling - source.traffic.found_before_quiet > 20
    ((_, problem),) = source.run(source.now + 10 * MINUTE)
    assert problem is not None


def test_the_hours_that_are_read_are_all_that_an_assessment_needs() -> None:
    source = learnt(polled=False, announces=until(FRIDAY_EVENING))
    ((raised_at, problem),) = source.run(FRIDAY_EVENING + 3 * DAY)
    source.raised.clear()
    facts = source.facts()
    asked = hours_needed(facts.traffic.quiet_since, facts.now)
    fewer = replace(facts, hourly={hour: source.hourly[hour] for hour in asked if hour in source.hourly})
    assert assess(fewer)[WEBHOOKS_SILENT] == assess(facts)[WEBHOOKS_SILENT] is not None
    assert len(asked) < 60
    assert problem is not None
    assert raised_at > FRIDAY_EVENING
