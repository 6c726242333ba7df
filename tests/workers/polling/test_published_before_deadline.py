"""What was published before its deadline is not announced as overdue, though the last recheck had no answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from bridge.errors import VendorFault, VendorUnavailable
from tests.support.pointing import NAME, World
from tests.support.polling import DAY, START, Sitting, journal
from workers.polling.overdue import announce_overdue
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

HOUR = 3600.0
COMPLETED = ("attempt.completed", "a:ann-1")
#: What a webhook may name: the attempt, or a person with an attempt.
POINTERS = {"attempt": {"sitting": "ann-1"}, "person": {"person": "ann"}}


@pytest.fixture
def world(state: redis.Redis) -> World:
    return World(state)


def publish(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10))
    poll_once(world.services, NAME)
    assert journal(world.client) == [COMPLETED]


def pass_by(world: World, seconds: float) -> None:
    """Time in which nothing runs, then whatever is due."""
    world.moment += seconds
    recheck(world.services, NAME)
    announce_overdue(world.services)


def stop_answering(world: World, problem: Callable[[], Exception] = lambda: VendorUnavailable("HTTP 502")) -> None:
    def fail(_number: int) -> None:
        raise problem()

    world.api.before = fail


@pytest.mark.parametrize("pointer", POINTERS)
@pytest.mark.parametrize("problem", [VendorUnavailable, VendorFault])
def test_a_pointer_that_once_led_to_a_published_attempt_ends_in_silence(
    world: World, pointer: str, problem: type[Exception]
) -> None:
    publish(world)
    world.webhook(**POINTERS[pointer])
    world.run(HOUR / 2)
    stop_answering(world, lambda: problem("HTTP 502"))
    pass_by(world, 8 * DAY)
    assert world.watched == []
    assert journal(world.client) == [COMPLETED]


def test_a_webhook_that_names_a_published_attempt_ends_in_silence_though_the_vendor_never_answers(
    world: World,
) -> None:
    publish(world)
    stop_answering(world)
    world.webhook(sitting="ann-1")
    pass_by(world, 8 * DAY)
    assert world.watched == []
    assert journal(world.client) == [COMPLETED]


def test_a_pointer_that_led_to_nothing_is_announced_as_overdue(world: World) -> None:
    publish(world)
    world.webhook(sitting="ben-1")
    world.run(HOUR)
    stop_answering(world)
    pass_by(world, 8 * DAY)
    assert sorted(journal(world.client)) == [COMPLETED, ("attempt.overdue", "a:ben-1")]


def test_a_second_webhook_is_not_answered_by_what_the_first_one_led_to(world: World) -> None:
    publish(world)
    world.webhook(person="ann")
    world.run(100)
    stop_answering(world)
    world.webhook(person="ann")
    pass_by(world, 8 * DAY)
    assert sorted(journal(world.client)) == [COMPLETED, ("attempt.overdue", "?person:ann")]


@pytest.mark.parametrize("rechecked", [True, False], ids=["rechecked in vain", "not rechecked"])
def test_an_expected_attempt_that_is_published_already_is_met_though_the_vendor_does_not_answer(
    world: World, rechecked: bool
) -> None:
    publish(world)
    stop_answering(world)
    world.expect({"sitting": "ann-1"}, "a:ann-1", deadline=HOUR)
    if rechecked:
        pass_by(world, HOUR)
    else:
        world.moment += 2 * HOUR
        assert announce_overdue(world.services) == 0
    assert world.services.expectations.list(NAME) == ()
    assert world.watched == []
    assert journal(world.client) == [COMPLETED]
