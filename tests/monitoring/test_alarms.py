"""Alarms: raised once, said again every day, over once; and the same however many processes decide at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from bridge.monitoring.alarms import QUIET, RAISED, RECOVERED, Alarm, Alarms, announcement, read, step
from bridge.monitoring.source_health import Trouble
from schemas.notices import BUDGET_EXHAUSTED, POLL_FAILING
from tests.support.watching import DAY, HOUR, MINUTE, MONDAY

TROUBLE = Trouble(since=MONDAY - HOUR, fact="polling does not get through", value="nothing read for 1h", remedy="look")


def told(alarm: Alarm | None) -> Alarm | None:
    return None if alarm is None else replace(alarm, told=True)


def said(*judgements: tuple[float, Trouble | None]) -> Iterator[tuple[float, str, int]]:
    """What is announced over time: (minutes since the beginning, state, repeats)."""
    alarm: Alarm | None = None
    for minutes, trouble in judgements:
        new = step(alarm, POLL_FAILING, trouble, MONDAY + minutes * MINUTE)
        if new is not None and not new.told:
            yield minutes, new.state, new.repeats
        alarm = told(new)


def minutes(*found: tuple[int, int]) -> list[tuple[float, Trouble | None]]:
    """A judgement a minute; there is trouble in the given stretches, both ends included."""
    last = found[-1][1] + 30
    return [(at, TROUBLE if any(a <= at <= b for a, b in found) else None) for at in range(last)]


def test_an_alarm_is_said_once_when_it_begins_and_once_when_it_is_over() -> None:
    assert list(said(*minutes((5, 60)))) == [(5, RAISED, 0), (61, RECOVERED, 0)]


def test_while_it_lasts_it_is_said_again_every_day() -> None:
    found = list(said(*minutes((0, 3 * 1440 + 10))))
    assert found == [(0, RAISED, 0), (1440, RAISED, 1), (2880, RAISED, 2), (4320, RAISED, 3), (4331, RECOVERED, 3)]


def test_what_comes_and_goes_is_one_trouble() -> None:
    quiet = int(QUIET / MINUTE)
    flapping = minutes((0, 0), (2, 2), (4, 4), (6, 6), (8, 40))
    assert list(said(*flapping)) == [(0, RAISED, 0), (1, RECOVERED, 0), (1 + quiet, RAISED, 0), (41, RECOVERED, 0)]


def test_what_was_decided_and_not_told_comes_before_the_next_decision() -> None:
    raised = step(None, POLL_FAILING, TROUBLE, MONDAY)
    assert raised is not None
    assert step(raised, POLL_FAILING, None, MONDAY + HOUR) is raised


def test_the_announcement_is_made_of_the_record_alone() -> None:
    raised = step(None, POLL_FAILING, TROUBLE, MONDAY)
    assert raised is not None
    notice = announcement("eu", raised)
    assert (notice.type, notice.subject, notice.time) == (POLL_FAILING, "eu", MONDAY)
    assert notice.data["alarm"]["value"] == TROUBLE.value
    over = step(told(raised), POLL_FAILING, None, MONDAY + HOUR)
    assert over is not None
    assert announcement("eu", over).data["alarm"] == {
        "state": RECOVERED,
        "since": "2026-12-27T23:00:00.000Z",
        "fact": TROUBLE.fact,
        "value": "over after 2h",
        "remedy": "none is needed",
    }
    again = replace(raised, repeats=1)
    occasions = {announcement("eu", one).occasion for one in (raised, again, over, replace(raised, raised_at=1.0))}
    assert len(occasions) == 4


def test_two_processes_agree_on_the_first_decision(any_state: redis.Redis) -> None:
    one, two = Alarms(any_state), Alarms(any_state)
    first = step(None, POLL_FAILING, TROUBLE, MONDAY)
    second = step(None, POLL_FAILING, replace(TROUBLE, value="nothing read for 61m"), MONDAY + 0.02)
    assert first is not None
    assert second is not None
    assert one.agree("eu", None, first) == first
    assert two.agree("eu", None, second) == first
    # A reply that was lost: the same call again.
    assert one.agree("eu", None, first) == first
    assert one.agree("eu", first, replace(first, told=True)).told
    assert two.agree("eu", first, replace(first, told=True)).told


def test_the_alarms_that_are_up_can_be_read(any_state: redis.Redis) -> None:
    alarms = Alarms(any_state)
    up = step(None, POLL_FAILING, TROUBLE, MONDAY)
    over = step(None, BUDGET_EXHAUSTED, TROUBLE, MONDAY)
    assert up is not None
    assert over is not None
    alarms.agree("eu", None, up)
    alarms.agree("eu", None, replace(over, state=RECOVERED))
    assert read(any_state, "eu") == (up,)
    assert set(alarms.of("eu")) == {POLL_FAILING, BUDGET_EXHAUSTED}
    assert read(any_state, "us") == ()


@pytest.mark.parametrize("days", [0.5, 40.0])
def test_a_trouble_that_began_long_before_it_was_noticed_is_not_said_twice_at_once(days: float) -> None:
    old = replace(TROUBLE, since=MONDAY - days * DAY)
    raised = step(None, POLL_FAILING, old, MONDAY)
    assert step(told(raised), POLL_FAILING, old, MONDAY + MINUTE) == told(raised)
