"""Pointers from webhooks, expected attempts, rereads, consent and second sittings, with a small vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import redis

from bridge.clock import to_datetime
from bridge.polling.expectations import Expectations
from bridge.sdk.vendor import NormalisedAttempt, Pointer, Record, Watch
from tests.support.pointing import NAME, World
from tests.support.polling import DAY, START, Sitting, journal, journal_events
from workers.polling.overdue import announce_overdue
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck


@pytest.fixture
def world(state: redis.Redis) -> World:
    return World(state)


# Pointers ---------------------------------------------------------------------------------------------------------


def test_a_pointer_publishes_nothing_and_the_next_recheck_publishes_what_the_api_says(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10))

    assert world.webhook(person="ann").outcome == "watching"
    assert journal(world.client) == []
    assert recheck(world.services, NAME).outcomes == {"published": 1}

    assert journal(world.client) == [("attempt.completed", "a:ann-1")]
    assert world.watched == []


@pytest.mark.long
def test_a_pointer_to_nothing_is_rechecked_by_the_schedule_and_then_announced_as_overdue(world: World) -> None:
    world.webhook(person="nobody")
    moments: list[float] = []
    while watches := world.services.watches.list(NAME):
        world.moment = watches[0].due
        assert recheck(world.services, NAME).rechecks == 1
        moments.append(world.moment - START)

    assert moments[:6] == [0, 5, 35, 155, 755, 4355]
    assert moments[-1] == 7 * DAY
    [notice] = journal_events(world.client)
    assert (notice["type"], notice["subject"]) == ("attempt.overdue", "?person:nobody")


def test_a_pointer_to_an_open_attempt_leaves_that_attempts_own_watch_open(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10, graded=False))
    world.webhook(person="ann")
    recheck(world.services, NAME)
    assert world.watched == [("ungraded", "a:ann-1")]


def test_a_pointer_makes_a_watched_attempt_due_now_and_keeps_its_watch(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10, graded=False))
    poll_once(world.services, NAME)
    world.moment += 1
    assert recheck(world.services, NAME).outcome == "idle"

    world.webhook(sitting="ann-1")

    assert recheck(world.services, NAME).rechecks == 1
    assert world.watched == [("ungraded", "a:ann-1")]


def test_a_pointer_stays_open_when_polls_read_an_older_attempt_of_the_same_person(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 50))
    poll_once(world.services, NAME)
    world.webhook(person="ann")
    poll_once(world.services, NAME)
    assert world.watched == [("pointer", "?person:ann")]


# Expectations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reference", "key"), [({"sitting": "ann-1"}, "a:ann-1"), ({"person": "ann"}, "?person:ann")])
def test_an_expected_attempt_has_its_label_whichever_path_it_comes_by(
    world: World, reference: dict[str, str], key: str
) -> None:
    world.expect(reference, key)
    recheck(world.services, NAME)
    assert world.watched == [("expectation", key)]

    world.api.add(Sitting("ann-1", START - 10))
    poll_once(world.services, NAME)

    assert world.labels == ["HR-7"]
    assert world.watched == []
    assert world.services.expectations.list(NAME) == ()


def test_a_recheck_meets_an_expectation_that_came_after_the_event_but_an_old_attempt_does_not(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10))
    poll_once(world.services, NAME)
    world.expect({"person": "ann"}, "?person:ann")
    recheck(world.services, NAME)
    assert world.watched == []

    world.moment += 3 * DAY
    world.expect({"person": "ann"}, "?person:ann")
    recheck(world.services, NAME)
    assert world.watched == [("expectation", "?person:ann")]


def test_a_later_grade_of_an_old_attempt_does_not_meet_an_expectation(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10))
    poll_once(world.services, NAME)
    world.moment += 2 * DAY
    world.expect({"person": "ann"}, "?person:ann")
    world.api.find("ann-1").score = 19
    world.webhook(sitting="ann-1")
    recheck(world.services, NAME)
    assert journal(world.client)[-1] == ("attempt.revised", "a:ann-1")
    world.api.add(Sitting("ann-2", world.moment))
    poll_once(world.services, NAME)
    assert world.labels == [None, None, "HR-7"]


def test_the_label_stays_on_revisions(world: World) -> None:
    world.expect({"sitting": "ann-1"}, "a:ann-1")
    world.api.add(Sitting("ann-1", START - 10, graded=False))
    poll_once(world.services, NAME)
    world.api.find("ann-1").graded = True
    world.moment += 60
    recheck(world.services, NAME)

    assert journal(world.client) == [("attempt.completed", "a:ann-1"), ("attempt.revised", "a:ann-1")]
    assert world.labels == ["HR-7", "HR-7"]


@pytest.mark.parametrize("looking", [True, False])
def test_an_expectation_is_overdue_once_after_its_deadline_and_can_still_be_met(world: World, looking: bool) -> None:
    world.expect({"sitting": "ann-1"}, "a:ann-1", deadline=600)
    world.moment += 600
    for _ in range(3):
        if looking:
            recheck(world.services, NAME)
        announce_overdue(world.services)
        world.moment += 61

    [notice] = journal_events(world.client)
    assert notice["type"] == "attempt.overdue"
    assert notice["data"]["watch"]["label"] == "HR-7"
    assert [expectation.state for expectation in world.services.expectations.list(NAME)] == ["overdue"]
    world.api.add(Sitting("ann-1", START - 10))
    poll_once(world.services, NAME)
    assert world.labels == ["HR-7"]
    assert world.services.expectations.list(NAME) == ()


def test_an_expectation_is_not_rechecked_before_it_is_due(world: World) -> None:
    pointer = Pointer(key="a:ann-1", reference={"sitting": "ann-1"})
    world.services.expectations.expect(
        NAME, [pointer], label=None, due=START + 100, deadline=START + 200, now=world.moment
    )
    assert recheck(world.services, NAME).outcome == "idle"
    world.moment += 100
    assert recheck(world.services, NAME).rechecks == 1


def test_an_expected_schedule_is_replaced_by_its_candidates_once_without_a_notice(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10))
    poll_once(world.services, NAME)
    world.expect({"schedule": "ann-1 ben-1"}, "?schedule:s", deadline=3600)
    recheck(world.services, NAME)
    assert {expectation.key: expectation.state for expectation in world.services.expectations.list(NAME)} == {
        "?schedule:s": "expanded",
        "a:ben-1": "open",
    }
    world.api.add(Sitting("ben-1", world.moment))
    for _ in range(70):
        world.moment += 60
        recheck(world.services, NAME)
        announce_overdue(world.services)

    assert journal(world.client) == [("attempt.completed", "a:ann-1"), ("attempt.completed", "a:ben-1")]
    assert world.labels == [None, "HR-7"]
    assert world.watched == []
    assert world.services.expectations.list(NAME) == ()


def test_a_cancelled_expectation_is_neither_rechecked_nor_overdue(world: World) -> None:
    world.expect({"sitting": "ann-1"}, "a:ann-1", deadline=60)
    assert world.services.expectations.cancel(NAME, ["a:ann-1", "a:ben-1"]) == [True, False]
    assert world.services.expectations.cancel(NAME, ["a:ann-1"]) == [False]
    world.moment += 600
    announce_overdue(world.services)
    assert (world.watched, journal(world.client)) == ([], [])


def test_another_process_learns_of_an_expectation_within_its_cache_time(world: World) -> None:
    other = Expectations(world.client, world.services.watches)
    assert other.matching(NAME, ["a:ann-1"], now=START) == {}
    world.expect({"sitting": "ann-1"}, "a:ann-1")
    assert list(other.matching(NAME, ["a:ann-1", "a:ben-1"], now=START + 0.25)) == ["a:ann-1"]


def test_an_expectation_that_is_long_overdue_is_deleted(world: World) -> None:
    world.expect({"sitting": "ann-1"}, "a:ann-1", deadline=60)
    world.expect({"sitting": "ben-1"}, "a:ben-1", deadline=10 * DAY)
    world.moment += 600
    announce_overdue(world.services)
    assert world.services.expectations.forget(NAME, before=world.moment) == 1
    assert [expectation.key for expectation in world.services.expectations.list(NAME)] == ["a:ben-1"]


# Settled attempts that may change -----------------------------------------------------------------------------------


def test_a_reread_finds_a_change_and_ends_without_a_notice(world: World) -> None:
    plain = world.vendor.normalise

    def watched(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
        watch = Watch(reference={"sitting": record.body["id"]}, due_in=60, give_up_at=START + 3600, reread=True)
        return replace(plain(record, now, options), watch=watch)

    world.use(replace(world.vendor, normalise=watched))
    world.api.add(Sitting("ann-1", START - 10))
    poll_once(world.services, NAME)
    assert world.watched == [("reread", "a:ann-1")]
    world.api.find("ann-1").score = 19
    for _ in range(70):
        world.moment += 60
        recheck(world.services, NAME)

    assert journal(world.client) == [("attempt.completed", "a:ann-1"), ("attempt.revised", "a:ann-1")]
    assert world.watched == []


# Consent ------------------------------------------------------------------------------------------------------------


@pytest.mark.own_partitions
def test_a_withdrawal_voids_published_attempts_stops_the_others_and_is_announced_once(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10), Sitting("ben-1", START - 10))
    poll_once(world.services, NAME)
    for later in range(3):
        world.moment += 1
        world.webhook(person="ann", consent=False, at=START + later)
    world.api.add(Sitting("ann-2", world.moment))
    world.api.find("ann-1").score = 20
    poll_once(world.services, NAME)

    # A revision takes a second call of the script, so the announcement comes first.
    assert journal(world.client)[2:] == [("consent.withdrawn", "person:ann"), ("attempt.revised", "a:ann-1")]
    voided = journal_events(world.client)[3]["data"]
    assert voided["attempt"]["status"] == "voided"
    assert voided["result"]["score"] is voided["result"]["previous"] is None
    assert voided["candidate"] == {"id": None, "external_id": None, "email": None, "name": None}
    assert voided["flags"] == ["consent_withdrawn"]


def test_an_open_attempt_is_no_longer_watched_after_its_consent_is_withdrawn(world: World) -> None:
    plain = world.vendor.normalise

    def unfinished(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
        watch = Watch(reference={"sitting": record.body["id"]}, due_in=60, give_up_at=START + DAY)
        return replace(plain(record, now, options), status="in_progress", watch=watch)

    world.use(replace(world.vendor, normalise=unfinished))
    world.api.add(Sitting("ann-1", START - 10), Sitting("ben-1", START - 10))
    poll_once(world.services, NAME)
    world.webhook(person="ann", consent=False, at=START)
    assert world.watched == [("attempt", "a:ben-1")]
    poll_once(world.services, NAME)
    world.webhook(sitting="ann-1")
    recheck(world.services, NAME)
    assert world.watched == [("attempt", "a:ben-1")]


def test_a_consent_dated_in_the_future_counts_as_given_now(world: World) -> None:
    world.webhook(person="ann", consent=True, at=START + 99 * DAY)
    world.moment += 5
    world.webhook(person="ann", consent=False, at=None)
    assert journal(world.client) == [("consent.withdrawn", "person:ann")]


def test_a_withdrawal_before_any_result_publishes_only_its_announcement(world: World) -> None:
    world.webhook(person="ann", consent=False, at=START)
    world.api.add(Sitting("ann-1", START))
    poll_once(world.services, NAME)
    assert journal(world.client) == [("consent.withdrawn", "person:ann")]


def test_after_a_new_consent_new_attempts_are_published_and_an_older_copy_of_the_withdrawal_changes_nothing(
    world: World,
) -> None:
    world.moment += 10
    assert world.webhook(person="ann", consent=True, at=START - 5).outcome == "ignored"
    world.webhook(person="ann", consent=False, at=START)
    world.webhook(person="ann", consent=True, at=START + 5)
    world.webhook(person="ann", consent=False, at=START)
    world.webhook(person="ann", consent=False, at=START + 1)
    world.api.add(Sitting("ann-2", world.moment))
    poll_once(world.services, NAME)
    assert sorted(journal(world.client)) == [("attempt.completed", "a:ann-2"), ("consent.withdrawn", "person:ann")]


def test_a_withdrawal_older_than_the_latest_consent_changes_nothing(world: World) -> None:
    world.moment += 10
    world.webhook(person="ann", consent=True, at=START + 5)
    world.webhook(person="ann", consent=False, at=START)
    world.api.add(Sitting("ann-2", world.moment))
    poll_once(world.services, NAME)
    assert journal(world.client) == [("attempt.completed", "a:ann-2")]
    assert world.services.consents.forget_given(NAME, before=START + 5) == 0
    assert world.services.consents.forget_given(NAME, before=START + 6) == 1


@pytest.mark.parametrize("at", [None, START + 5])
def test_the_latest_statement_counts_after_the_clock_was_set_back(world: World, at: float | None) -> None:
    world.moment += 10
    world.webhook(person="ann", consent=True, at=at and START)
    world.moment -= 7200
    world.webhook(person="ann", consent=False, at=at)
    assert journal(world.client) == [("consent.withdrawn", "person:ann")]
    world.moment += 1
    world.webhook(person="ann", consent=True, at=at and START + 9)
    world.api.add(Sitting("ann-1", world.moment - 10))
    poll_once(world.services, NAME)
    assert sorted(journal(world.client)) == [("attempt.completed", "a:ann-1"), ("consent.withdrawn", "person:ann")]


def test_a_withdrawal_during_publishing_voids_the_attempts_just_published(world: World) -> None:
    world.api.add(Sitting("ann-1", START - 10))
    journal_of = world.services.journal
    plain = journal_of.publish

    def interrupted(entry: Any, *, now: float) -> Any:
        vars(journal_of).pop("publish")
        world.webhook(person="ann", consent=False, at=START)
        return plain(entry, now=now)

    vars(journal_of)["publish"] = interrupted
    poll_once(world.services, NAME)

    assert sorted(journal(world.client)) == [
        ("attempt.completed", "a:ann-1"),
        ("attempt.revised", "a:ann-1"),
        ("consent.withdrawn", "person:ann"),
    ]
    (revised,) = [event for event in journal_events(world.client) if event["type"] == "attempt.revised"]
    assert revised["data"]["attempt"]["status"] == "voided"


# Second sittings ----------------------------------------------------------------------------------------------------


def test_a_second_sitting_under_the_same_id_is_another_attempt(world: World) -> None:
    world.use(replace(world.vendor, sittings=True))
    world.api.add(Sitting("ann", START - 10))
    for instance in ("71", "71", "72", "71"):
        world.webhook(sitting="ann", instance=instance)
        recheck(world.services, NAME)
        world.moment += 1

    assert journal(world.client) == [("attempt.completed", "a:ann"), ("attempt.completed", "a:ann:2")]
    poll_once(world.services, NAME)
    assert len(journal(world.client)) == 2


def test_a_forged_pointer_does_not_start_a_second_sitting(world: World) -> None:
    world.use(replace(world.vendor, sittings=True))
    world.api.add(Sitting("ann", START - 10))
    world.webhook(sitting="ann", instance="71")
    recheck(world.services, NAME)
    world.use(replace(world.vendor, recheck=lambda client, reference: ()))
    world.webhook(sitting="ann", instance="forged")
    poll_once(world.services, NAME)
    assert journal(world.client) == [("attempt.completed", "a:ann")]


def test_two_sitting_ids_with_the_same_start_are_one_sitting(world: World) -> None:
    def resolve(*given: tuple[str, float]) -> list[str]:
        rows = [("a:ann", sitting, to_datetime(start)) for sitting, start in given]
        return world.services.sittings.resolve(NAME, rows, now=START)

    assert resolve(("71", START), ("forged", START)) == ["a:ann", "a:ann"]
    assert resolve(("72", START + 5), ("73", START + 5), ("71", START)) == ["a:ann:2", "a:ann:2", "a:ann"]


def test_sittings_are_forgotten_with_the_attempts(world: World) -> None:
    world.services.sittings.resolve(NAME, [("a:ann", "71", None), ("a:ann", "72", None)], now=START)
    assert world.services.sittings.forget(NAME, before=START) == 0
    assert world.services.sittings.forget(NAME, before=START + 2 * DAY) == 1
    assert world.services.sittings.resolve(NAME, [("a:ann", None, None)], now=START) == ["a:ann"]
