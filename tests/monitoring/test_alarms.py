"""Alarms: raised once, said again every day, over once; and the same however many processes decide at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from bridge.monitoring.alarms import (
    QUIET_SECONDS,
    RAISED,
    RECOVERED,
    Alarm,
    Alarms,
    alarm_notice,
    next_alarm,
    raised_alarms,
)
from bridge.monitoring.source_health import SourceProblem
from schemas.notices import BUDGET_EXHAUSTED, POLL_FAILING
from tests.support.watching import DAY, HOUR, MINUTE, MONDAY

PROBLEM = SourceProblem(since=MONDAY - HOUR, fact="polling fails", value="nothing read for 1h", remedy="look")


def published(alarm: Alarm | None) -> Alarm | None:
    return None if alarm is None else replace(alarm, published=True)


def said(*judgements: tuple[float, SourceProblem | None]) -> Iterator[tuple[float, str, int]]:
    """What is announced over time: (minutes since the beginning, state, repeats)."""
    alarm: Alarm | None = None
    for minutes, problem in judgements:
        new = next_alarm(alarm, POLL_FAILING, problem, MONDAY + minutes * MINUTE)
        if new is not None and not new.published:
            yield minutes, new.state, new.repeats
        alarm = published(new)


def minutes(*states: tuple[int, int]) -> list[tuple[float, SourceProblem | None]]:
    """A judgement a minute; there is trouble in the given stretches, both ends included."""
    last = states[-1][1] + 30
    return [(at, PROBLEM if any(a <= at <= b for a, b in states) else None) for at in range(last)]


def test_an_alarm_is_published_when_it_begins_and_when_it_is_over() -> None:
    assert list(said(*minutes((5, 60)))) == [(5, RAISED, 0), (61, RECOVERED, 0)]


def test_an_alarm_is_repeated_every_day_while_it_lasts() -> None:
    result = list(said(*minutes((0, 3 * 1440 + 10))))
    assert result == [(0, RAISED, 0), (1440, RAISED, 1), (2880, RAISED, 2), (4320, RAISED, 3), (4331, RECOVERED, 3)]


def test_an_intermittent_problem_is_one_alarm() -> None:
    quiet = int(QUIET_SECONDS / MINUTE)
    flapping = minutes((0, 0), (2, 2), (4, 4), (6, 6), (8, 40))
    assert list(said(*flapping)) == [(0, RAISED, 0), (1, RECOVERED, 0), (1 + quiet, RAISED, 0), (41, RECOVERED, 0)]


def test_an_alarm_that_was_over_in_the_future_keeps_nothing_quiet() -> None:
    assert list(said((60, PROBLEM), (120, None), (0, PROBLEM))) == [
        (60, RAISED, 0),
        (120, RECOVERED, 0),
        (0, RAISED, 0),
    ]


def test_an_unpublished_alarm_comes_before_the_next_decision() -> None:
    raised = next_alarm(None, POLL_FAILING, PROBLEM, MONDAY)
    assert raised is not None
    assert next_alarm(raised, POLL_FAILING, None, MONDAY + HOUR) is raised


def test_the_notice_is_made_from_the_record_alone() -> None:
    raised = next_alarm(None, POLL_FAILING, PROBLEM, MONDAY)
    assert raised is not None
    notice = alarm_notice("eu", raised)
    assert (notice.type, notice.subject, notice.time) == (POLL_FAILING, "eu", MONDAY)
    assert notice.data["alarm"]["value"] == PROBLEM.value
    over = next_alarm(published(raised), POLL_FAILING, None, MONDAY + HOUR)
    assert over is not None
    assert alarm_notice("eu", over).data["alarm"] == {
        "state": RECOVERED,
        "since": "2026-12-27T23:00:00.000Z",
        "fact": PROBLEM.fact,
        "value": "over after 2h",
        "remedy": "none needed",
    }
    again = replace(raised, repeats=1)
    occasions = {alarm_notice("eu", alarm).occasion for alarm in (raised, again, over, replace(raised, raised_at=1.0))}
    assert len(occasions) == 4


def test_two_processes_agree_on_the_first_decision(state: redis.Redis) -> None:
    own, two = Alarms(state), Alarms(state)
    first = next_alarm(None, POLL_FAILING, PROBLEM, MONDAY)
    second = next_alarm(None, POLL_FAILING, replace(PROBLEM, value="nothing read for 61m"), MONDAY + 0.02)
    assert first is not None
    assert second is not None
    assert own.compare_and_set("eu", None, first) == first
    assert two.compare_and_set("eu", None, second) == first
    # A reply that was lost: the same call again.
    assert own.compare_and_set("eu", None, first) == first
    assert own.compare_and_set("eu", first, replace(first, published=True)).published
    assert two.compare_and_set("eu", first, replace(first, published=True)).published


def test_the_raised_alarms_can_be_read(state: redis.Redis) -> None:
    alarms = Alarms(state)
    up = next_alarm(None, POLL_FAILING, PROBLEM, MONDAY)
    over = next_alarm(None, BUDGET_EXHAUSTED, PROBLEM, MONDAY)
    assert up is not None
    assert over is not None
    alarms.compare_and_set("eu", None, up)
    alarms.compare_and_set("eu", None, replace(over, state=RECOVERED))
    assert raised_alarms(state, "eu") == (up,)
    assert set(alarms.of("eu")) == {POLL_FAILING, BUDGET_EXHAUSTED}
    assert raised_alarms(state, "us") == ()


@pytest.mark.parametrize("days", [0.5, 40.0])
def test_a_problem_that_began_long_before_it_was_noticed_is_not_published_twice_at_once(days: float) -> None:
    old = replace(PROBLEM, since=MONDAY - days * DAY)
    raised = next_alarm(None, POLL_FAILING, old, MONDAY)
    assert next_alarm(published(raised), POLL_FAILING, old, MONDAY + MINUTE) == published(raised)
