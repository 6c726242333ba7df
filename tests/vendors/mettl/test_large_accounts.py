"""Mettl accounts with more schedules and tests than one turn's budget can list: results come first, nothing starves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from bridge.quota.windows import Window
from bridge.vendors.mettl import VENDOR
from bridge.vendors.mettl.contract import Bench
from bridge.vendors.mettl.simulator import Simulator
from bridge.vendors.mettl.simulator.sittings import Schedule, Test
from tests.support.contract.engine import SOURCE, Bridge
from tests.support.contract.stage import Clock, connect
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

pytestmark = pytest.mark.long

_MINUTE = 60.0


class LargeBench(Bench):
    """The bench around an account of any size, with the vendor's own page size."""

    def __init__(self, now: Callable[[], float], options: Mapping[str, Any], schedules: Sequence[Schedule], tests: int):
        super().__init__(now, options=options)
        self.simulator = Simulator(7, now, quota_calls=60, schedules=schedules, tests=_tests(tests))
        self.wsgi = self.simulator.wsgi
        self.credentials = {name: (str(value),) for name, value in self.simulator.credentials.items()}


class Account:
    """The bridge at 60 calls a minute, one turn of polling and rechecking every ten seconds."""

    def __init__(self, state, *, schedules: int, tests: int, configured: Sequence[str] = ()) -> None:
        listed = [
            Schedule(access_key=f"key{number:05d}", name=f"Schedule {number}", test=_test(number % tests))
            for number in range(schedules)
        ]
        self.stage = connect(VENDOR, lambda now: LargeBench(now, {"schedules": configured}, listed, tests), Clock())
        self.bridge = Bridge(self.stage, state, window=Window(60, _MINUTE))
        self.paths: list[str] = []
        wire = self.bridge.wire

        def counting(method: str, path: str, *rest: Any) -> Any:
            self.paths.append(urlsplit(path).path)
            return wire(method, path, *rest)

        self.bridge.wire = counting

    @property
    def simulator(self) -> Simulator:
        return self.stage.bench.simulator

    def turns(self, minutes: float, until: Callable[[], bool] = lambda: False) -> None:
        """Time goes on in steps of ten seconds until something is so."""
        end = self.stage.clock.now + minutes * _MINUTE
        while self.stage.clock.now < end and not until():
            self.stage.clock.now += 10.0
            recheck(self.bridge.services, SOURCE)
            poll_once(self.bridge.services, SOURCE, not_within=300.0)

    def finish(self, schedule: int) -> str:
        return self.simulator.finish(schedule=schedule, at=self.stage.clock.now - 60)

    def names(self) -> dict[str, str | None]:
        """Name of the test in the last event of each attempt."""
        return {event["subject"]: event["data"]["assessment"]["name"] for event in self.bridge.events()}

    def count(self, ending: str) -> int:
        return sum(path.endswith(ending) for path in self.paths)


def _test(number: int) -> Test:
    return Test(id=500_000 + number, name=f"Test {number}", marks=20.0)


def _tests(number: int) -> list[Test]:
    return [_test(place) for place in range(number)]


def test_1000_schedules_and_tests_at_60_calls_a_minute_publish_results_within_one_pass(empty_state):
    account = Account(empty_state(), schedules=1_000, tests=1_000)
    early, middle, late = (account.finish(schedule) for schedule in (5, 500, 999))

    account.turns(1)
    assert set(account.names()) == {early}

    pointed_to = account.finish(800)
    account.bridge.push(pointed_to)
    account.turns(1)
    assert set(account.names()) == {early, pointed_to}, "a pointer does not wait for the list"

    account.turns(30, until=lambda: len(account.names()) == 4)
    assert set(account.names()) == {early, middle, late, pointed_to}
    # Every schedule once, and each page of the list of schedules about once for each of its turns.
    assert 1_000 <= account.count("/candidates") <= 1_040
    assert account.count("/v2/schedules") <= 10 + 6 * 30
    assert account.count("/assessments") <= 10, "names are asked for only for schedules with results"


def test_a_schedule_list_longer_than_a_turn_is_continued_where_the_last_turn_ended(empty_state):
    account = Account(empty_state(), schedules=230, tests=230)
    finished = {account.finish(schedule) for schedule in (0, 99, 100, 199, 200, 229)}

    account.turns(12, until=lambda: set(account.names()) == finished)

    assert set(account.names()) == finished
    # Pages of the list share rows; a page is listed again only by the turn that goes on within it.
    read = [path for path in account.paths if path.endswith("/candidates")]
    assert len(set(read)) == 230
    assert len(read) <= 240


def test_one_configured_schedule_and_5400_tests_follow_every_pointer_with_names_learned_on_the_way(empty_state):
    account = Account(empty_state(), schedules=1, tests=5_400, configured=("key00000",))
    first = [account.finish(0) for _ in range(3)]
    for attempt_id in first:
        account.bridge.push(attempt_id)

    account.turns(1)

    assert account.names() == dict.fromkeys(first, "Test 0")
    assert account.count("/assessments") == 1, "the first page has the test"


def test_a_test_at_the_end_of_a_long_list_is_found_page_by_page_while_results_are_published(empty_state):
    tests = 1_000
    account = Account(empty_state(), schedules=1, tests=tests)
    account.simulator.schedules = (Schedule(access_key="key00000", name="One", test=_test(tests - 1)),)
    finished = []
    for _ in range(14):
        finished.append(account.finish(0))
        account.bridge.push(finished[-1])
        account.turns(0.5)
        assert set(account.names()) == set(finished)

    assert account.names()[finished[0]] is None
    assert account.names()[finished[-1]] == f"Test {tests - 1}"
    assert account.count("/assessments") == tests / 100


def test_a_test_that_the_list_does_not_have_is_searched_for_less_and_less_often(empty_state):
    account = Account(empty_state(), schedules=1, tests=250)
    account.simulator.schedules = (Schedule(access_key="key00000", name="One", test=_test(9_999)),)
    for _ in range(24):
        account.bridge.push(account.finish(0))
        account.turns(1)
        account.stage.clock.now += 1_200.0

    # A search reads three pages. It begins again after 1, 3 and 7 hours; the test takes eight.
    assert set(account.names().values()) == {None}
    assert 9 < account.count("/assessments") <= 12
