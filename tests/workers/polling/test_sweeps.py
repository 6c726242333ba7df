"""A stream that is read once a day: a round that fails is continued, so it neither uses up the day nor begins again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
import redis

from bridge.config.model import PollConfig
from bridge.errors import BridgeError, Unreadable, VendorFault, VendorUnavailable
from bridge.vendors.coremetrix import VENDOR as COREMETRIX
from tests.support.contract.wire import session_over
from tests.support.polling import DAY, START, Api, Sitting, journal, make_services, make_vendor, with_source
from workers.polling.poll import poll_once

pytestmark = pytest.mark.long

NAME = "eu-little"
POLL = 300.0


class World:
    """A source with five pages, read once a day if `daily`, else at every poll, a poll every five minutes."""

    def __init__(self, state: redis.Redis, *, daily: bool = True) -> None:
        self.state, self.moment = state, START
        self.api = Api(lambda: START, page_size=2)
        self.api.add(*(Sitting(f"{number}", START - 1000 + number) for number in range(10)))
        vendor = make_vendor(self.api)
        poll = vendor.polls["results"]
        if daily:
            poll = replace(poll, sweep=lambda _options: 9 * DAY, every=DAY)
        self.services = make_services(state, replace(vendor, polls={"results": poll}), lambda: self.moment)

    def polls(self, number: int) -> list[tuple[str, int]]:
        """The outcome of each of so many polls, and its calls."""
        outcomes = []
        for _ in range(number):
            before = len(self.api.calls)
            outcome = poll_once(self.services, NAME, not_within=POLL - 30).outcome
            outcomes.append((outcome, len(self.api.calls) - before))
            self.moment += POLL
        return outcomes


def fails(error: BridgeError, *numbers: int) -> Callable[[int], None]:
    def before(number: int) -> None:
        if number in numbers:
            raise error

    return before


def fails_at(api: Api, error: BridgeError, page: int) -> Callable[[int], None]:
    """The vendor never answers for this page, whenever it is asked for."""
    cursors: list[str] = []

    def before(_number: int) -> None:
        cursor = api.calls[-1]
        if cursor not in cursors:
            cursors.append(cursor)
        if cursors.index(cursor) + 1 == page:
            raise error

    return before


FAULTS = pytest.mark.parametrize("fault", [VendorFault("HTTP 404"), Unreadable("no JSON")], ids=type)


@FAULTS
@pytest.mark.parametrize("daily", [True, False])
def test_a_round_that_fails_after_its_first_page_is_continued_at_the_next_poll(
    state: redis.Redis, fault: BridgeError, daily: bool
) -> None:
    world = World(state, daily=daily)
    world.api.before = fails(fault, 3, 4)
    assert world.polls(3) == [("cut_short", 3), ("cut_short", 1), ("done", 3)]
    assert len(set(journal(state))) == len(journal(state)) == 10
    if daily:
        assert world.polls(2) == [("fresh", 0), ("fresh", 0)]
        world.moment += DAY
        assert world.polls(1) == [("done", 5)]


def test_a_failed_round_is_continued_at_the_next_poll_and_not_at_the_next_tick(state: redis.Redis) -> None:
    world = World(state)
    world.api.before = fails(VendorFault("HTTP 404"), 3)
    world.polls(1)
    world.moment -= POLL - 60.0
    assert poll_once(world.services, NAME, not_within=POLL - 30).outcome == "fresh"


@FAULTS
def test_a_page_that_can_never_be_read_makes_the_day_begin_again_seldom(state: redis.Redis, fault: BridgeError) -> None:
    world = World(state)
    world.api.before = fails_at(world.api, fault, 4)
    beginnings = [number for number, (_, calls) in enumerate(world.polls(60)) if calls > 1]
    # Six polls at the page, then at once; then after one hour, two, four, ...
    assert beginnings == [0, 6, 23, 52]


def test_a_cursor_that_has_expired_makes_the_day_begin_again_at_the_next_poll(state: redis.Redis) -> None:
    world = World(state)
    world.api.before = fails(VendorFault("the page cursor is refused", reason="bad_cursor"), 3)
    assert world.polls(3) == [("cut_short", 3), ("done", 5), ("fresh", 0)]


def test_cursors_that_always_expire_make_the_day_begin_again_seldom(state: redis.Redis) -> None:
    world = World(state)
    world.api.before = fails_at(world.api, VendorFault("the page cursor is refused", reason="bad_cursor"), 3)
    beginnings = [number for number, (_, calls) in enumerate(world.polls(90)) if calls]
    assert beginnings == [0, 1, 13, 37, 85]


def test_a_daily_sweep_whose_first_call_fails_is_repeated_at_the_next_poll(state: redis.Redis) -> None:
    world = World(state)
    world.api.before = fails(VendorUnavailable("HTTP 503"), 1, 2)
    assert world.polls(4) == [("cut_short", 1), ("cut_short", 1), ("done", 5), ("fresh", 0)]
    world.moment += DAY
    assert world.polls(1) == [("done", 5)]


def test_coremetrix_continues_its_week_at_the_window_that_failed(state: redis.Redis) -> None:
    moment, windows = [START], list[str]()

    def answer(_method: str, url: str, *_rest: object) -> tuple[int, dict[str, str], bytes]:
        windows.append(parse_qs(urlsplit(url).query)["from"][0])
        return (404, {}, b"") if len(windows) == 3 else (200, {}, b'{"attempts": []}')

    services = make_services(
        state,
        COREMETRIX,
        lambda: moment[0],
        poll=PollConfig(every=POLL, overlap=100, look_back=9 * DAY),
        vendor_session=lambda: session_over(answer),
    )
    options = {name: option.default for name, option in COREMETRIX.options.items()}
    services = with_source(services, credentials={"api_key": ("INVENTED",)}, options=options)
    assert poll_once(services, NAME, not_within=POLL - 30).outcome == "cut_short"
    failed = windows[-1]
    moment[0] += POLL
    assert poll_once(services, NAME, not_within=POLL - 30).outcome == "done"
    assert windows[3] == failed
    assert len(set(windows)) == len(windows) - 1
