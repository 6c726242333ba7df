"""What is registered again takes the new times; what is announced is rechecked soon, whatever was under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
import redis

from bridge.errors import VendorUnavailable
from bridge.polling.watches import EXPECTATION
from bridge.sdk.vendor import NormalisedAttempt, Pointer, Record, Watch
from tests.support.pointing import NAME, World
from tests.support.polling import DAY, START, Sitting, journal, journal_events
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

HOUR = 3600.0
ANN = ({"sitting": "ann-1"}, "a:ann-1")


@pytest.fixture
def world(state: redis.Redis) -> World:
    world = World(state)
    world.use(replace(world.vendor, recheck_schedule=(HOUR, DAY)))
    return world


def overdue(world: World) -> list[tuple[float, float]]:
    """When something was announced as overdue, and the deadline in the notice; seconds from the start."""

    def seconds(text: str) -> float:
        return datetime.fromisoformat(text).timestamp() - START

    notices = [event for event in journal_events(world.client) if event["type"] == "attempt.overdue"]
    return [(round(seconds(notice["time"])), round(seconds(notice["data"]["watch"]["deadline"]))) for notice in notices]


# Registered again -----------------------------------------------------------------------------------------------------


def test_registering_again_moves_the_first_recheck_and_the_deadline(world: World) -> None:
    world.expect(*ANN, due=HOUR, deadline=2 * HOUR)
    world.moment += 60
    world.expect(*ANN, due=DAY - 60, deadline=3 * DAY - 60, label="HR-8")
    world.moment -= 60

    assert world.run(2.5 * DAY)[0] == DAY
    assert overdue(world) == []
    world.api.add(Sitting("ann-1", world.moment))
    world.run(0.5 * DAY)
    assert world.labels == ["HR-8"]
    assert world.watched == []


def test_the_notice_has_the_times_that_were_registered_last(world: World) -> None:
    world.expect(*ANN, due=HOUR, deadline=2 * HOUR)
    world.expect(*ANN, due=DAY, deadline=3 * DAY)
    assert world.run(4 * DAY)[-1] == 3 * DAY
    assert overdue(world) == [(3 * DAY, 3 * DAY)]


def test_nothing_is_rechecked_after_a_deadline_that_was_shortened(world: World) -> None:
    world.expect(*ANN, due=60, deadline=30 * DAY)
    world.run(HOUR)
    world.expect(*ANN, due=0, deadline=HOUR)
    assert world.run(20 * DAY)[-1] == HOUR
    assert overdue(world) == [(2 * HOUR, 2 * HOUR)]
    assert world.watched == []


@pytest.mark.parametrize("rechecked", [True, False], ids=["rechecked in vain", "not rechecked yet"])
def test_what_a_webhook_pointed_to_takes_the_registered_times(world: World, rechecked: bool) -> None:
    world.webhook(sitting="ann-1")
    if rechecked:
        world.run(100)
    began = world.moment - START
    world.expect(*ANN, due=DAY, deadline=30 * DAY)

    calls = world.run(31 * DAY)

    # The webhook itself is still followed, once.
    assert [moment for moment in calls if moment < DAY] == ([] if rechecked else [0.0])
    assert DAY in calls
    assert overdue(world) == [(round(began + 30 * DAY),) * 2]


def test_an_expectation_that_is_overdue_is_expected_again(world: World) -> None:
    world.expect(*ANN, deadline=HOUR)
    world.run(2 * HOUR)
    world.expect(*ANN, due=HOUR, deadline=2 * HOUR)
    assert world.run(3 * HOUR)[0] == HOUR
    assert overdue(world) == [(HOUR, HOUR), (4 * HOUR, 4 * HOUR)]


def test_an_open_attempt_is_announced_at_the_registered_deadline_and_stays_watched(world: World) -> None:
    world.use(replace(world.vendor, normalise=unfinished(world, give_up_at=START + 4 * DAY)))
    world.api.add(Sitting("ann-1", START - 10))
    world.expect(*ANN, deadline=DAY)
    world.run(HOUR)
    assert [kind for kind, _ in world.watched] == ["attempt"]
    world.expect(*ANN, due=0, deadline=2 * DAY)

    assert 2 * DAY in world.run(5 * DAY)

    assert overdue(world) == [(2 * DAY + HOUR,) * 2]
    assert world.watched == []


def test_an_expectation_outlives_the_watch_of_the_open_attempt(world: World) -> None:
    world.use(replace(world.vendor, normalise=unfinished(world, give_up_at=START + HOUR)))
    world.api.add(Sitting("ann-1", START - 10))
    world.expect(*ANN, deadline=2 * DAY)
    world.run(3 * DAY)
    assert overdue(world) == [(2 * DAY, 2 * DAY)]


def test_candidates_of_a_schedule_that_is_registered_again_take_its_times(world: World) -> None:
    world.expect({"schedule": "ann-1 ben-1"}, "?schedule:s", deadline=HOUR)
    world.expect({"sitting": "ben-1"}, "a:ben-1", deadline=5 * DAY, label="own")
    world.run(60)
    world.expect({"schedule": "ann-1 ben-1"}, "?schedule:s", deadline=3 * DAY, label="HR-9")
    world.run(60)
    result = {
        expectation.key: (expectation.label, expectation.deadline - START)
        for expectation in world.services.expectations.list(NAME)
    }
    assert result["a:ann-1"] == ("HR-9", 3 * DAY + 60)
    assert result["a:ben-1"] == ("own", 5 * DAY)


def test_what_is_registered_again_during_a_recheck_is_not_met_or_ended_by_it(world: World) -> None:
    world.api.add(Sitting("ann-1", START))
    poll_once(world.services, NAME)
    world.expect({"person": "ann"}, "?person:ann", deadline=HOUR)

    def register(number: int) -> None:
        world.api.before = lambda number: None
        world.expect({"person": "ann"}, "?person:ann", due=DAY, deadline=3 * DAY, label="retake")

    world.api.before = register
    recheck(world.services, NAME)
    (expected,) = world.services.expectations.list(NAME)
    (watch,) = world.services.watches.list(NAME)
    assert (expected.label, expected.deadline) == ("retake", START + 3 * DAY)
    assert (watch.kind, watch.due, watch.give_up_at) == (EXPECTATION, START + DAY, START + 3 * DAY)


# Urged while a recheck is under way -----------------------------------------------------------------------------------


def during(world: World, action: Callable[[], None]) -> None:
    """`action` happens while the vendor is answering for the next time."""
    kept = world.vendor.recheck
    assert kept is not None

    def slow(client: Any, reference: Mapping[str, str]) -> Any:
        answer = kept(client, reference)
        world.use(replace(world.vendor, recheck=kept))
        world.moment += 4
        action()
        return answer

    world.use(replace(world.vendor, recheck=slow))


def test_an_expected_attempt_that_is_announced_during_a_recheck_is_rechecked_at_once(world: World) -> None:
    world.expect(*ANN)

    def finish() -> None:
        world.api.add(Sitting("ann-1", world.moment))
        assert world.webhook(sitting="ann-1").outcome == "watching"

    during(world, finish)
    assert recheck(world.services, NAME).outcomes == {}
    assert recheck(world.services, NAME).outcomes == {"published": 1}
    assert world.labels == ["HR-7"]
    assert world.watched == []


@pytest.mark.parametrize("reread", [True, False], ids=["stays watched", "is settled"])
def test_a_new_score_that_is_announced_during_a_recheck_is_published_at_once(world: World, reread: bool) -> None:
    if reread:
        world.use(replace(world.vendor, normalise=watched(world, reread=True)))
    world.api.add(Sitting("ann-1", START - 10))
    poll_once(world.services, NAME)
    world.webhook(sitting="ann-1")

    def rescore() -> None:
        world.api.find("ann-1").score = 19
        world.webhook(sitting="ann-1")

    during(world, rescore)
    assert recheck(world.services, NAME).outcomes == {"duplicate": 1}
    assert recheck(world.services, NAME).outcomes == {"revised": 1}


def test_what_is_announced_while_a_page_is_read_stays_watched(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10))

    def rescore(number: int) -> None:
        world.api.before = lambda number: None
        world.webhook(sitting="ann-1")

    world.api.before = rescore
    poll_once(world.services, NAME)
    assert journal(world.client) == [("attempt.completed", "a:ann-1")]
    assert world.watched == [("pointer", "a:ann-1")]


def test_a_recheck_without_an_answer_does_not_put_off_what_was_announced_meanwhile(world: World) -> None:
    world.expect(*ANN)
    kept = world.vendor.recheck

    def fail(client: Any, reference: Mapping[str, str]) -> Any:
        world.use(replace(world.vendor, recheck=kept))
        world.webhook(sitting="ann-1")
        raise VendorUnavailable("HTTP 502")

    world.use(replace(world.vendor, recheck=fail))
    recheck(world.services, NAME)
    assert world.services.watches.due_count(NAME, world.moment) == 1


def test_a_watch_that_is_cancelled_during_its_last_recheck_is_not_announced(world: World) -> None:
    world.expect(*ANN, deadline=HOUR)
    world.run(HOUR - 1)
    world.moment = START + HOUR
    during(world, lambda: bool(world.services.expectations.cancel(NAME, ["a:ann-1"])) and None)
    recheck(world.services, NAME)
    assert journal(world.client) == []
    assert world.watched == []


# Announced before the API shows it ------------------------------------------------------------------------------------


def watched(world: World, **changes: Any) -> Any:
    plain = world.vendor.normalise

    def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
        watch = Watch(reference={"sitting": record.body["id"]}, due_in=HOUR, give_up_at=START + 90 * DAY, **changes)
        return replace(plain(record, now, options), watch=watch)

    return normalise


def unfinished(world: World, *, give_up_at: float = START + 90 * DAY) -> Any:
    """The attempt is in progress while it has the score it was made with."""
    plain = world.vendor.normalise

    def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
        attempt = plain(record, now, options)
        if record.body["score"] != Sitting("", 0.0).score:
            return attempt
        watch = Watch(reference={"sitting": record.body["id"]}, due_in=HOUR, give_up_at=give_up_at)
        return replace(attempt, status="in_progress", completed_at=None, watch=watch)

    return normalise


@pytest.mark.parametrize("known", ["unknown", "open", "ungraded", "reread", "settled"])
@pytest.mark.parametrize("expected", [True, False], ids=["expected", "not expected"])
def test_what_is_announced_seconds_before_the_api_shows_it_is_published_seconds_later(
    world: World, known: str, expected: bool
) -> None:
    normalise = {
        "open": lambda: unfinished(world),
        "ungraded": lambda: watched(world),
        "reread": lambda: watched(world, reread=True),
    }.get(known, lambda: world.vendor.normalise)()
    world.use(replace(world.vendor, normalise=normalise))
    if known != "unknown":
        world.api.add(Sitting("ann-1", START - 10))
        poll_once(world.services, NAME)
        world.run(2 * DAY)
    if expected:
        world.expect({"person": "ann"}, "?person:ann", due=DAY, deadline=9 * DAY)
        world.expect(*ANN, due=DAY, deadline=9 * DAY)
    world.webhook(sitting="ann-1")
    assert world.run(2)[0] == 0.0
    before = len(journal(world.client))

    if known == "unknown":
        world.api.add(Sitting("ann-1", world.moment))
    else:
        world.api.find("ann-1").score = 19
    world.run(10)

    (event,) = journal_events(world.client)[before:]
    assert event["type"] == ("attempt.completed" if known in ("unknown", "open") else "attempt.revised")
    assert event["data"]["extensions"].get("expectation") == ("HR-7" if expected and known != "settled" else None) or (
        known in ("ungraded", "reread", "settled")
    )


def test_what_was_announced_and_never_comes_is_rechecked_by_the_pointers_schedule_once(world: World) -> None:
    world.use(replace(world.vendor, normalise=watched(world, reread=True), recheck_schedule=(DAY,)))
    world.api.add(Sitting("ann-1", START - 10))
    poll_once(world.services, NAME)
    world.webhook(sitting="ann-1")
    assert world.run(3 * DAY) == [0, 5, 35, 155, 755, 4355, 4355 + DAY, 4355 + 2 * DAY]
    assert world.watched == [("reread", "a:ann-1")]


def test_a_webhook_that_repeats_what_is_published_costs_the_pointers_schedule_once(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10))
    poll_once(world.services, NAME)
    world.webhook(sitting="ann-1")
    assert world.run(8 * DAY) == [0, 5, 35, 155, 755, 4355]
    assert (world.watched, overdue(world)) == ([], [])


def test_an_announced_attempt_is_not_rechecked_later_than_without_the_webhook(world: World) -> None:
    world.use(replace(world.vendor, normalise=unfinished(world), recheck_schedule=(300.0, 900.0)))
    world.api.add(Sitting("ann-1", START - 10))
    world.webhook(sitting="ann-1")
    assert world.run(2400) == [0, 5, 35, 155, 455, 755, 1055, 1955]


def test_what_was_announced_just_before_the_deadline_is_followed_after_it(world: World) -> None:
    world.expect(*ANN, deadline=HOUR)
    world.run(HOUR - 1)
    world.webhook(sitting="ann-1")
    world.run(3)
    assert overdue(world) == [(HOUR, HOUR)]
    world.api.add(Sitting("ann-1", world.moment))
    world.run(60)
    assert world.labels == ["HR-7"]
    assert (world.watched, len(overdue(world))) == ([], 1)


def test_candidates_of_an_announced_schedule_are_urged_once_for_each_webhook(world: World) -> None:
    world.services.watches.add_pointers(
        NAME, [Pointer(key="?schedule:s", reference={"schedule": "ann-1 ben-1"})], now=world.moment
    )
    calls = world.run(2 * DAY)
    assert len([moment for moment in calls if moment < 100]) == 3 * 3
    assert [key for _, key in world.watched] == ["a:ann-1", "a:ben-1"]
