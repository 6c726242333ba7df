"""Rechecks over the small vendor: one grading is one revision, and no watch starves the fresh poll."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import redis

from bridge.errors import VendorFault, VendorThrottled, VendorUnavailable
from bridge.polling.watches import OpenWatch, Watches
from bridge.sdk.vendor import Pointer, Record, Resume
from bridge.services import Services
from tests.support.clients import clients_over
from tests.support.contract.wire import session_over
from tests.support.polling import DAY, START, Api, Client, Sitting, journal, journal_events, make_services, make_vendor
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

NAME = "eu-little"


class World:
    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.moment = START
        self.api = Api(clock=lambda: self.moment)
        self.services = self.build()

    def build(self, budget: tuple[int, float] = (1000, 3600.0)) -> Services:
        return make_services(self.client, make_vendor(self.api), lambda: self.moment, budget=budget)

    @property
    def watched(self) -> list[str]:
        return [watch.key for watch in self.services.watches.list(NAME)]


@pytest.fixture
def world(state: redis.Redis) -> World:
    return World(state)


def test_an_attempt_that_is_graded_later_is_revised_exactly_once(world: World) -> None:
    world.api.add(Sitting("essay", START - 10, graded=False))
    poll_once(world.services, NAME)
    assert world.watched == ["a:essay"]

    world.moment += 60
    assert recheck(world.services, NAME).outcomes == {"duplicate": 1}
    world.api.find("essay").graded = True
    world.api.find("essay").score = 17
    for _ in range(5):
        world.moment += 600
        recheck(world.services, NAME)
        poll_once(world.services, NAME)

    assert journal(world.client) == [("attempt.completed", "a:essay"), ("attempt.revised", "a:essay")]
    revised = journal_events(world.client)[1]["data"]
    assert (revised["result"]["score"], revised["result"]["grading"]) == (17.0, "final")
    assert revised["result"]["previous"]["grading"] == "provisional"
    assert world.watched == []


def test_what_a_webhook_pointed_to_is_counted_as_announced_and_what_a_poll_found_is_not(world: World) -> None:
    world.api.add(Sitting("pointed", START - 10))
    world.api.add(Sitting("expected", START - 10))
    reference = {"sitting": "pointed"}
    world.services.watches.add_pointers(NAME, [Pointer(key="a:pointed", reference=reference)], now=START - 60)
    expected = Pointer(key="a:expected", reference={"sitting": "expected"})
    world.services.expectations.expect(NAME, [expected], label="x", due=START, deadline=START + DAY, now=START)
    assert recheck(world.services, NAME).outcomes == {"published": 2}
    world.api.add(Sitting("found", START - 5))
    world.moment += 60
    poll_once(world.services, NAME)
    day = int(START // DAY)
    counts = world.services.journal_reader.counts(day, day)
    assert (counts[NAME, "poll", "published"], counts[NAME, "poll", "announced"]) == (3, 1)


def test_rechecks_follow_the_vendors_schedule_and_polls_do_not_reset_it(world: World) -> None:
    world.api.add(Sitting("essay", START - 10, graded=False))
    moments: list[float] = []
    for _ in range(40):
        poll_once(world.services, NAME)
        if recheck(world.services, NAME).rechecks:
            moments.append(world.moment - START)
        world.moment += 30

    assert moments == [60, 120, 720]


def test_a_watch_is_given_up_after_a_last_recheck_at_its_deadline(world: World) -> None:
    world.api.add(Sitting("essay", START - 10, graded=False))
    poll_once(world.services, NAME)
    world.moment = START + 90 * DAY

    report = recheck(world.services, NAME)

    assert report.given_up == ["a:essay"]
    assert world.watched == []
    poll_once(world.services, NAME)
    assert world.watched == []


def test_the_most_overdue_watch_comes_first(world: World) -> None:
    for number in range(4):
        world.api.add(Sitting(f"{number}", START - 10, graded=False))
        poll_once(world.services, NAME)
        world.moment += 10
    world.moment += 60
    world.api.calls.clear()

    assert recheck(world.services, NAME, limit=2).rechecks == 2

    assert world.api.calls == ["one 0", "one 1"]


def test_a_watch_that_the_vendor_calls_a_fault_does_not_block_the_others(world: World) -> None:
    world.api.add(*(Sitting(f"{number}", START - 10, graded=False) for number in range(3)))
    poll_once(world.services, NAME)
    world.moment += 60
    first = len(world.api.calls) + 1

    def fault(number: int) -> None:
        if number == first:
            raise VendorFault("incorrectUrlId")

    world.api.before = fault
    report = recheck(world.services, NAME)

    assert (report.outcome, report.rechecks, report.error) == ("done", 3, "incorrectUrlId")
    assert recheck(world.services, NAME).outcome == "idle"


def test_a_bug_in_a_vendors_folder_concerns_one_watch_and_the_others_are_rechecked(world: World) -> None:
    world.api.add(*(Sitting(f"{number}", START - 10, graded=False) for number in range(3)))
    poll_once(world.services, NAME)
    world.moment += 60
    first = len(world.api.calls) + 1

    def fault(number: int) -> None:
        if number == first:
            raise ZeroDivisionError

    world.api.before = fault
    report = recheck(world.services, NAME)

    assert (report.outcome, report.rechecks, report.error) == ("done", 3, "unexpected_error")
    assert len(world.api.calls) == first + 2
    assert recheck(world.services, NAME).outcome == "idle"


def test_an_attempt_that_the_vendor_stumbles_over_keeps_no_other_waiting(world: World) -> None:
    world.api.add(*(Sitting(f"{number}", START - 10, graded=False) for number in range(3)))
    poll_once(world.services, NAME)
    world.moment += 60

    def stumble(number: int) -> None:
        if world.api.calls[-1] == "one 0":
            raise VendorUnavailable("HTTP 500")

    world.api.before = stumble
    report = recheck(world.services, NAME)
    assert (report.outcome, report.rechecks, report.error) == ("done", 2, "HTTP 500")
    assert recheck(world.services, NAME).outcome == "idle"
    world.moment += 60
    recheck(world.services, NAME)
    assert world.api.calls.count("one 0") == 2
    assert {watch.key: watch.rechecks for watch in world.services.watches.list(NAME)}["a:0"] == 0


def test_no_watch_is_rechecked_before_the_time_that_the_vendor_gives(world: World) -> None:
    world.api.add(*(Sitting(f"{number}", START - 10, graded=False) for number in range(3)))
    poll_once(world.services, NAME)
    world.moment += 60
    asked = len(world.api.calls)

    def busy(number: int) -> None:
        raise VendorUnavailable("HTTP 503", retry_at=world.moment + 45)

    world.api.before = busy
    assert recheck(world.services, NAME).outcome == "cut_short"
    world.moment += 44
    assert recheck(world.services, NAME).outcome == "paused"
    assert len(world.api.calls) == asked + 1


def test_a_vendor_that_is_down_is_called_three_times_and_left_alone_for_a_while(world: World) -> None:
    world.api.add(*(Sitting(f"{number}", START - 10, graded=False) for number in range(6)))
    poll_once(world.services, NAME)
    world.moment += 60
    asked = len(world.api.calls)

    def away(number: int) -> None:
        raise VendorUnavailable("HTTP 502")

    world.api.before = away
    report = recheck(world.services, NAME)
    assert (report.outcome, report.rechecks, report.retry_at) == ("cut_short", 0, world.moment + 30)
    assert len(world.api.calls) == asked + 3


def test_a_rate_limit_ends_the_rechecks_and_the_rest_stays_due(world: World) -> None:
    world.api.add(*(Sitting(f"{number}", START - 10, graded=False) for number in range(3)))
    poll_once(world.services, NAME)
    world.moment += 60
    second = len(world.api.calls) + 2

    def limit(number: int) -> None:
        if number == second:
            raise VendorThrottled("429", retry_at=world.moment + 100)

    world.api.before = limit
    report = recheck(world.services, NAME)
    assert (report.outcome, report.rechecks, report.calls) == ("cut_short", 1, 2)
    assert recheck(world.services, NAME).outcome == "paused"

    world.moment += 100
    # What was refused goes behind the others, or one attempt that is always refused would hold up everything.
    assert recheck(world.services, NAME).rechecks == 2
    assert min(watch.due for watch in world.services.watches.list(NAME)) == world.moment + 60


def test_ungraded_attempts_leave_calls_to_the_poll_and_the_poll_leaves_calls_to_urgent_spenders(world: World) -> None:
    world.api.page_size = 1
    world.api.add(*(Sitting(f"{number:02}", START - 100 + number, graded=False) for number in range(20)))
    poll_once(world.services, NAME)
    world.client.delete("ab:{eu-little}:budget")
    world.moment += 60
    world.services = world.build((12, 3600.0))
    world.api.add(*(Sitting(f"new{number:02}", START + number) for number in range(40)))

    assert recheck(world.services, NAME).rechecks == 6
    (report,) = poll_once(world.services, NAME).rounds
    assert report.calls == 4
    assert recheck(world.services, NAME).outcome == "cut_short"
    world.services.watches.add_pointers(NAME, [Pointer(key="?x", reference={"sitting": "00"})], now=world.moment)
    assert recheck(world.services, NAME).rechecks == 1


def test_sources_without_due_watches_make_no_call(world: World) -> None:
    assert recheck(world.services, NAME).outcome == "idle"
    without = make_services(world.client, make_vendor(world.api, recheck=False), lambda: world.moment)
    assert recheck(without, NAME).outcome == "off"
    assert world.api.calls == []


def long_reading(world: World, pages: int) -> Services:
    """Services whose rechecks read that many pages each; the first expectation is due now, for a day."""

    def read(client: Client, reference: Mapping[str, str]) -> list[Record]:
        for number in range(pages):
            client.calls.request("GET", "https://api.example.test/list", params=[("page", f"{number}")])
        return []

    vendor = replace(make_vendor(world.api), recheck=read)
    world.services = make_services(world.client, vendor, lambda: world.moment, budget=(30, 3600.0))
    pointer = Pointer(key="a:never", reference={"sitting": "never"})
    world.services.expectations.expect(NAME, [pointer], label="x", due=START, deadline=START + DAY, now=START)
    return world.services


def test_a_recheck_that_the_budget_cuts_short_counts_backs_off_and_ends_at_its_deadline(world: World) -> None:
    services = long_reading(world, pages=100)

    report = recheck(services, NAME)
    assert (report.outcome, report.rechecks) == ("cut_short", 1)
    assert report.calls < 20
    [watch] = services.watches.list(NAME)
    assert (watch.rechecks, watch.due) == (1, START + 60)

    for _ in range(25):
        world.moment += 3600
        recheck(services, NAME)
    assert services.watches.list(NAME) == ()
    assert journal(world.client) == [("attempt.overdue", "a:never")]


def test_a_recheck_for_which_no_call_was_left_does_not_count(world: World) -> None:
    services = long_reading(world, pages=1)
    for _ in range(26):
        services.budgets.take(NAME, services.config.sources[NAME].budget, START, spender="test")
    report = recheck(services, NAME)
    assert (report.outcome, report.rechecks, report.calls) == ("cut_short", 0, 0)
    [watch] = services.watches.list(NAME)
    assert (watch.rechecks, watch.due) == (0, START)


def test_a_watch_that_is_never_answered_ends_at_its_deadline(world: World) -> None:
    services = long_reading(world, pages=1)
    world.services = services = replace(
        services, clients=clients_over(world.client, lambda: session_over(lambda *_: (500, {}, b"")))
    )
    for _ in range(25):
        world.moment += 3600
        recheck(services, NAME)
    assert services.watches.list(NAME) == ()
    assert journal(world.client) == [("attempt.overdue", "a:never")]


def test_pages_that_go_in_a_circle_end_the_recheck_and_not_the_turn(world: World) -> None:
    services = long_reading(world, pages=0)

    def circle(client: Client, reference: Mapping[str, str]) -> list[Record]:
        page = 0
        while True:
            client.calls.request("GET", "https://api.example.test/list", params=[("page", f"{page}")])
            page = (page + 1) % 3

    vendor = replace(services.vendors["little"], recheck=circle)
    services = replace(services, vendors={"little": vendor})
    report = recheck(services, NAME)
    assert (report.outcome, report.rechecks, report.calls) == ("done", 1, 6)
    assert "in a circle" in (report.error or "")


def test_the_next_recheck_starts_where_the_last_one_stopped(world: World) -> None:
    services = long_reading(world, pages=0)
    asked: list[Mapping[str, str]] = []

    def read(client: Client, reference: Mapping[str, str]) -> list[Resume]:
        asked.append(reference)
        return [Resume(reference={"sitting": "never", "page": f"{len(asked)}"})]

    services = replace(services, vendors={"little": replace(services.vendors["little"], recheck=read)})
    for _ in range(3):
        recheck(services, NAME)
        world.moment += 3600
    assert [reference.get("page") for reference in asked] == [None, "1", "2"]
    assert [watch.rechecks for watch in services.watches.list(NAME)] == [3]


@pytest.mark.long
def test_an_error_about_one_watch_that_cannot_be_stored_does_not_end_the_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.api.add(*(Sitting(f"{number}", START - 10, graded=False) for number in range(3)))
    poll_once(world.services, NAME)
    world.moment += 60
    stored = Watches.replace

    def fails(self: Watches, source: str, watch: OpenWatch, following: OpenWatch | None) -> bool:
        if watch.key == "a:0":
            raise redis.ResponseError("user_script:1: out of range script: on @user_script:1.")
        return stored(self, source, watch, following)

    monkeypatch.setattr(Watches, "replace", fails)
    report = recheck(world.services, NAME)
    assert (report.outcome, report.rechecks, report.error) == ("done", 3, "unexpected_error")
    assert {watch.key: watch.rechecks for watch in world.services.watches.list(NAME)}["a:0"] == 0

    # It is left alone for longer and longer, and for an urge it is due again.
    asked = []
    for _ in range(24 * 6):
        world.moment += 600
        world.api.calls.clear()
        recheck(world.services, NAME)
        asked.append("one 0" in world.api.calls)
    assert 4 < sum(asked) < 20
    world.services.watches.add_pointers(NAME, [Pointer(key="a:0", reference={"sitting": "0"})], now=world.moment)
    assert world.services.watches.due_count(NAME, world.moment) >= 1
