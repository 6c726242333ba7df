"""Rounds over a small vendor with a virtual clock: nothing missed, nothing twice, wherever a round is cut short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from bridge.config.model import PollConfig
from bridge.errors import (
    StateUnavailable,
    Unreadable,
    VendorFault,
    VendorRefused,
    VendorThrottled,
    VendorUnavailable,
)
from bridge.polling.cursors import Cursors, StreamPosition
from bridge.quota.budgets import Window
from bridge.sdk.vendor import NormalisedAttempt, Page, Record
from bridge.services import Services
from bridge.state import keys
from bridge.state.lease import Lease
from tests.support.polling import DAY, START, Api, Sitting, journal, make_services, make_vendor, with_source
from workers.polling.poll import first_cursor, poll_once

pytestmark = pytest.mark.cluster_too

NAME = "eu-little"


@dataclass
class World:
    """A clock, a vendor's API and the bridge's services on one state."""

    client: redis.Redis
    moment: float = START

    def __post_init__(self) -> None:
        self.api = Api(clock=lambda: self.moment)
        self.services = self.build()

    def build(self, **options: object) -> Services:
        return make_services(self.client, make_vendor(self.api), lambda: self.moment, **options)  # type: ignore[arg-type]

    def sit(self, count: int, *, start: float = START - 1000, step: float = 10.0, lag: float = 0.0) -> list[str]:
        known = sum(len(rows) for rows in self.api.streams.values())
        names = [f"{known + number:03}" for number in range(count)]
        self.api.add(*(Sitting(name, start + step * number, lag=lag) for number, name in enumerate(names)))
        return [f"a:{name}" for name in names]

    def poll_until_done(self, rounds: int = 50, step: float = 300.0) -> None:
        for _ in range(rounds):
            if poll_once(self.services, NAME).outcome == "done":
                return
            self.moment += step
        raise AssertionError("polling never came to an end")

    @property
    def published(self) -> list[str]:
        return [attempt for kind, attempt in journal(self.client) if kind == "attempt.completed"]


@pytest.fixture
def world(state: redis.Redis) -> World:
    return World(state)


def test_a_round_publishes_every_page_and_moves_the_cursor_to_its_end(world: World) -> None:
    expected = world.sit(8)

    report = poll_once(world.services, NAME)

    assert report.outcome == "done"
    assert world.published == expected
    assert report.rounds[0].records == 8
    assert report.rounds[0].calls == 3
    assert world.services.cursors.load(NAME, "results") == f"{START - 1000 + 70:.0f}"


def test_the_next_round_starts_an_overlap_before_the_end_of_the_last_one(world: World) -> None:
    world.sit(2)
    poll_once(world.services, NAME)

    world.moment += 300
    report = poll_once(world.services, NAME)

    assert report.rounds[0].from_cursor == f"{START - 1000 + 10 - 100:.0f}"
    assert report.rounds[0].outcomes == {"duplicate": 2}


def test_the_first_round_starts_at_the_look_back_but_not_before_the_vendors_limit(world: World) -> None:
    (poll,) = make_vendor(world.api).polls.values()
    source = replace(world.services.config.sources[NAME], poll=PollConfig(look_back=7 * DAY))

    assert first_cursor(poll, StreamPosition(), source, None, START) == f"{START - 7 * DAY:.0f}"
    assert first_cursor(poll, StreamPosition(), source, 2 * DAY, START) == f"{START - 2 * DAY:.0f}"


def test_an_empty_list_leaves_the_cursor_at_the_look_back_instead_of_jumping_to_now(world: World) -> None:
    for _ in range(5):
        poll_once(world.services, NAME)
        world.moment += 300

    assert world.services.cursors.load(NAME, "results") == f"{START - DAY:.0f}"


def test_quiet_rounds_do_not_creep_backwards(world: World) -> None:
    world.sit(1)
    poll_once(world.services, NAME)
    before = world.services.cursors.load(NAME, "results")
    world.api.streams["results"].clear()

    for _ in range(10):
        world.moment += 300
        poll_once(world.services, NAME)

    assert world.services.cursors.load(NAME, "results") == before


@pytest.mark.parametrize("inclusive", [True, False], ids=["from the second on", "after the second"])
def test_a_row_that_shows_up_late_in_the_second_of_the_cursor_is_found(world: World, inclusive: bool) -> None:
    world.api.inclusive = inclusive
    world.api.add(Sitting("first", START - 5), Sitting("late", START - 5, lag=50))
    poll_once(world.services, NAME)
    assert world.published == ["a:first"]

    world.moment += 60
    poll_once(world.services, NAME)

    assert world.published == ["a:first", "a:late"]


@pytest.mark.parametrize(("behind", "listed"), [(100, True), (101, False)], ids=["at its edge", "a second beyond"])
def test_the_overlap_reaches_back_exactly_as_far_as_configured(world: World, behind: float, listed: bool) -> None:
    world.api.add(Sitting("end", START - 10), Sitting("late", START - 10 - behind, lag=behind + 11))
    poll_once(world.services, NAME)

    world.moment += 60
    poll_once(world.services, NAME)

    assert ("a:late" in world.published) is listed


def test_more_equal_timestamps_than_a_page_holds_are_all_read(world: World) -> None:
    expected = world.sit(10, step=0.0)

    poll_once(world.services, NAME)

    assert sorted(world.published) == expected


def test_a_crash_between_publishing_and_saving_the_cursor_publishes_nothing_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = world.sit(8)
    save, saved = Cursors.save, []

    def crash_on_second(self: Cursors, *args: object, **options: object) -> None:
        saved.append(args)
        if len(saved) == 2:
            raise KeyboardInterrupt
        save(self, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Cursors, "save", crash_on_second)
        with pytest.raises(KeyboardInterrupt):
            poll_once(world.services, NAME)
    assert len(world.published) == 6
    position = world.services.cursors.position(NAME, "results")
    assert position.cursor is None
    assert position.resume == f"{START - 1000 + 20:.0f}+1"

    world.poll_until_done()

    assert world.published == expected


def test_a_crash_while_publishing_leaves_the_cursor_in_front_of_the_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = world.sit(8)

    def down(*args: object, **options: object) -> None:
        raise StateUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(world.services.journal, "publish", down, raising=False)
        with pytest.raises(StateUnavailable):
            poll_once(world.services, NAME)
    assert world.services.cursors.load(NAME, "results") is None

    world.poll_until_done()

    assert world.published == expected


def test_a_small_budget_gets_through_a_long_list_in_several_turns(world: World) -> None:
    expected = world.sit(40, start=START - 2000)
    world.services = world.build(budget=(2, 600.0))

    first = poll_once(world.services, NAME)

    assert first.outcome == "cut_short"
    assert first.retry_at == START + 601  # a second for calls on their way
    assert world.services.budgets.status(NAME, Window(2, 600.0), START).left == 0
    world.poll_until_done()
    assert world.published == expected
    assert len([call for call in world.api.calls if call.startswith("results")]) == 14


def test_a_round_that_was_cut_short_goes_on_at_the_next_tick_and_a_whole_one_does_not(world: World) -> None:
    world.sit(9)
    world.services = world.build(budget=(2, 58.0))
    assert poll_once(world.services, NAME).outcome == "cut_short"
    world.moment += 60
    assert poll_once(world.services, NAME, not_within=270.0).outcome == "done"
    world.moment += 60
    assert poll_once(world.services, NAME, not_within=270.0).outcome == "fresh"


def test_a_list_that_is_longer_than_the_budget_inside_the_overlap_still_gets_read(world: World) -> None:
    """Starting over at the overlap after every interruption would never come to the end of these rows."""
    world.sit(1, start=START - 60)
    poll_once(world.services, NAME)
    expected = world.sit(30, start=START - 50, step=1.0)
    world.services = world.build(budget=(2, 60.0), poll=PollConfig(every=60, overlap=3600, look_back=DAY))
    world.moment += 3600

    world.poll_until_done(step=60)

    assert set(expected) <= set(world.published)


def test_a_row_that_shows_up_behind_an_interrupted_round_is_found_by_the_next_one(world: World) -> None:
    world.sit(6, start=START - 60, step=5.0)
    world.api.add(Sitting("late", START - 58, lag=90))
    world.services = world.build(budget=(1, 1800.0))

    assert poll_once(world.services, NAME).outcome == "cut_short"
    world.moment += 1800
    world.sit(2, start=START + 1790, step=1.0)
    world.poll_until_done(step=1800)
    assert "a:late" not in world.published

    world.services = world.build()
    world.moment += 300
    poll_once(world.services, NAME)

    assert "a:late" in world.published


def test_the_vendors_rate_limit_pauses_the_source_for_everybody_until_the_moment_it_named(world: World) -> None:
    expected = world.sit(8)

    def limit(number: int) -> None:
        if number == 2:
            raise VendorThrottled("429", retry_at=START + 500)

    world.api.before = limit
    report = poll_once(world.services, NAME)
    assert (report.outcome, report.retry_at) == ("cut_short", START + 500)
    assert world.published == expected[:3]

    world.moment = START + 499
    assert poll_once(world.build(), NAME).outcome == "paused"
    assert len(world.api.calls) == 2

    world.moment = START + 500
    assert poll_once(world.services, NAME).outcome == "done"
    assert world.published == expected


def test_a_vendor_that_is_down_leaves_the_cursor_and_is_polled_again(world: World) -> None:
    expected = world.sit(8)

    def down(number: int) -> None:
        if number in (2, 3):
            raise VendorUnavailable("HTTP 502")

    world.api.before = down

    assert poll_once(world.services, NAME).rounds[0].error == "HTTP 502"
    assert poll_once(world.services, NAME).outcome == "cut_short"
    assert poll_once(world.services, NAME).outcome == "done"
    assert world.published == expected


def test_refused_credentials_stop_the_source_until_an_operator_resumes_it(world: World) -> None:
    expected = world.sit(2)

    def refuse(number: int) -> None:
        if number == 1:
            raise VendorRefused("apiKeyInactive")

    world.api.before = refuse
    poll_once(world.services, NAME)
    world.moment += 30 * DAY
    assert poll_once(world.services, NAME).outcome == "paused"
    pause = world.services.budgets.paused(NAME, world.moment)
    assert pause is not None
    assert pause.indefinite
    assert pause.reason == "apiKeyInactive"

    assert world.services.budgets.resume(NAME)
    world.moment = START
    assert poll_once(world.services, NAME).outcome == "done"
    assert world.published == expected


def test_a_vendor_that_leads_in_a_circle_is_a_fault_and_what_was_read_is_published(world: World) -> None:
    turns = {"10": Page(records=(), cursor="11", more=True), "11": Page(records=(), cursor="10", more=True)}
    vendor = make_vendor(world.api)
    poll = replace(vendor.polls["results"], fetch=lambda client, cursor: turns["11" if cursor == "11" else "10"])
    looping = make_services(world.client, replace(vendor, polls={"results": poll}), lambda: world.moment)

    report = poll_once(looping, NAME)

    assert report.outcome == "cut_short"
    assert "was read before" in (report.rounds[0].error or "")
    assert looping.cursors.position(NAME, "results").resume is None


def test_a_cursor_inside_a_round_that_the_vendor_refuses_is_given_up_and_the_round_starts_over(world: World) -> None:
    expected = world.sit(8)

    def refuse(number: int) -> None:
        if number == 2:
            raise VendorUnavailable("HTTP 503")
        if number == 3:
            raise VendorFault("cursor has run out", reason="bad_cursor")

    world.api.before = refuse
    poll_once(world.services, NAME)
    assert world.services.cursors.position(NAME, "results").resume is not None
    poll_once(world.services, NAME)
    assert world.services.cursors.position(NAME, "results").resume is None

    assert poll_once(world.services, NAME).outcome == "done"
    assert world.published == expected


@pytest.mark.parametrize("field", ["resume", "cursor"])
def test_a_stored_cursor_that_nobody_can_read_costs_one_round_and_no_attempt(world: World, field: str) -> None:
    expected = world.sit(8)
    world.poll_until_done()
    world.client.hset(keys.cursor(NAME, "results"), field, "of another version")
    world.moment += 300.0
    expected += world.sit(2, start=world.moment - 100)
    with capture_logs() as logs:
        assert poll_once(world.services, NAME).outcome == "done"
    assert [line["field"] for line in logs if line["event"] == "cursor_unreadable"] == [field]
    assert world.published == expected
    with capture_logs() as logs:
        world.moment += 300.0
        assert poll_once(world.services, NAME).outcome == "done"
    assert [line for line in logs if line["event"] == "cursor_unreadable"] == []


def test_of_two_pollers_at_once_the_second_is_busy_and_makes_no_call(world: World) -> None:
    expected = world.sit(8)
    seen: list[str] = []

    def meanwhile(number: int) -> None:
        seen.append(poll_once(world.build(), NAME).outcome)

    world.api.before = meanwhile
    assert poll_once(world.services, NAME).outcome == "done"

    assert seen == ["busy"] * 3
    assert len(world.api.calls) == 3
    assert world.published == expected


def test_a_poller_that_lost_its_lease_stops_after_its_page(world: World) -> None:
    expected = world.sit(8)
    other = Lease(world.client, f"poll:{NAME}", "other", seconds=60)

    def take_over(number: int) -> None:
        if number == 1:
            world.client.delete("ab:lease:poll:eu-little")
            assert other.hold()

    world.api.before = take_over
    report = poll_once(world.services, NAME)
    assert report.outcome == "cut_short"
    assert world.published == expected[:3]
    assert not Lease(world.client, f"poll:{NAME}", "third", seconds=60).hold()

    other.release()
    world.poll_until_done()
    assert world.published == expected


def test_a_process_that_stops_ends_at_the_page_and_the_next_one_goes_on_there(world: World) -> None:
    expected = world.sit(8)

    report = poll_once(world.services, NAME, stopping=lambda: True)
    assert report.outcome == "cut_short"
    assert world.published == expected[:3]

    assert poll_once(world.services, NAME).rounds[0].calls == 2
    assert world.published == expected


def test_a_second_tick_right_after_a_poll_does_nothing(world: World) -> None:
    world.sit(1)
    assert poll_once(world.services, NAME, not_within=150).outcome == "done"
    world.moment += 149
    assert poll_once(world.services, NAME, not_within=150).outcome == "fresh"
    world.moment += 1
    assert poll_once(world.services, NAME, not_within=150).outcome == "done"


def test_a_clock_that_was_set_back_does_not_stop_polling(world: World) -> None:
    poll_once(world.services, NAME, not_within=150)
    world.moment -= 3600

    assert poll_once(world.services, NAME, not_within=150).outcome == "done"


def test_the_stream_that_waited_longest_comes_first_so_a_small_budget_starves_none(world: World) -> None:
    world.api.streams["second"] = []
    world.sit(9)
    world.api.add(Sitting("other", START - 500), stream="second")
    world.services = world.build(budget=(1, 58.0))

    for _ in range(2):
        poll_once(world.services, NAME)
        world.moment += 60

    assert "a:other" in world.published


def test_a_fault_in_one_stream_does_not_starve_the_others(world: World) -> None:
    world.api.streams["second"] = []
    world.sit(1)
    world.api.add(Sitting("other", START - 500), stream="second")

    world.services = world.build()

    def fault(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError("a fault in a vendor's folder")

    world.api.before = fault
    with pytest.raises(ZeroDivisionError):
        poll_once(world.services, NAME)

    assert world.published == ["a:other"]
    errors = [report.error for report in world.services.cursors.history(NAME)]
    assert errors == [None, "fault in the bridge"]


def test_an_unreadable_record_is_quarantined_and_does_not_block_the_others(world: World) -> None:
    normalise = make_vendor(world.api).normalise

    def picky(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
        if record.body["id"] == "001":
            raise Unreadable("score: not a number")
        return normalise(record, now, options)

    world.sit(3)
    services = make_services(world.client, make_vendor(world.api, normalise=picky), lambda: world.moment)

    report = poll_once(services, NAME)

    assert report.outcome == "done"
    assert report.rounds[0].outcomes == {"published": 2, "quarantined": 1}
    assert world.client.xlen("ab:{0}:quarantine") == 1


def test_sources_that_are_switched_off_are_left_alone(world: World) -> None:
    world.sit(1)
    assert poll_once(with_source(world.services, paused=True), NAME).outcome == "off"
    assert poll_once(with_source(world.services, poll=PollConfig(enabled=False)), NAME).outcome == "off"
    assert world.api.calls == []


def test_history_names_what_happened_and_leaves_out_turns_that_made_no_call(world: World) -> None:
    world.sit(9)
    world.services = world.build(budget=(2, 60.0))

    poll_once(world.services, NAME)
    poll_once(world.services, NAME)

    (report,) = world.services.cursors.history(NAME)
    assert (report.stream, report.records, report.calls) == ("results", 6, 2)
    assert report.outcomes == {"published": 6}
    assert "all 2 calls of its budget" in (report.error or "")
