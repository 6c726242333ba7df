"""Rechecks and polls share ClassMarker's 30 calls an hour, over the simulated vendor: neither starves the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import redis

from bridge.config.model import PollConfig
from bridge.polling.recheck_schedule import Found
from bridge.quota import windows
from bridge.quota.windows import OVERDUE, POINTER
from bridge.sdk.records import Pointer, Record
from bridge.sdk.simulator import Faults
from bridge.vendors.classmarker import VENDOR
from bridge.vendors.classmarker.simulator import Behaviour, Simulator
from bridge.vendors.classmarker.simulator.api import create_api
from tests.support.contract.wire import session_over, wsgi
from tests.support.polling import DAY, START, Api, Client, journal, make_services, make_vendor, with_source
from workers.polling import recheck as rechecks
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

pytestmark = pytest.mark.long

NAME, PAGE = "eu-little", 20


class Account:
    """`pages` pages of link results of the last two weeks, and `expected` results that never come."""

    def __init__(self, state: redis.Redis, *, pages: int, expected: int, deadline: float) -> None:
        self.moment, self.state = START, state
        simulator = Simulator(3, lambda: self.moment, faults=Faults(), behaviour=Behaviour(page_size=PAGE))
        self.results = pages * PAGE - PAGE // 2
        for number in range(self.results):
            simulator.finish(channel="link", time_finished=START - 13 * DAY + number * 60, requires_grading=False)
        wire = wsgi(create_api(simulator))
        services = make_services(
            state,
            VENDOR,
            lambda: self.moment,
            poll=PollConfig(every=300, overlap=60, look_back=14 * DAY),
            budget=(30, 3600.0),
            vendor_session=lambda: session_over(wire),
        )
        credentials = {"api_key": (simulator.api_key,), "api_secret": (simulator.api_secret,), "webhook_secret": ("w",)}
        self.services = with_source(services, credentials=credentials)
        pointers = [VENDOR.expect({"stream": "link", "result": f"{number + 1}"}, {}) for number in range(expected)]  # type: ignore[misc]
        self.services.expectations.expect(NAME, pointers, label="x", due=START, deadline=START + deadline, now=START)
        self.calls: dict[str, int] = {}

    def run(self, seconds: float, *, every: float = 60.0) -> None:
        end = self.moment + seconds
        while self.moment < end:
            recheck(self.services, NAME)
            poll_once(self.services, NAME, not_within=240)
            self.moment += every

    @property
    def published(self) -> int:
        return sum(1 for kind, _ in journal(self.state) if kind == "attempt.completed")


@pytest.mark.parametrize("expected", [1, 5, 40])
def test_the_first_poll_of_2000_results_ends_within_the_hour_however_many_are_expected(
    state: redis.Redis, expected: int
) -> None:
    account = Account(state, pages=10, expected=expected, deadline=14 * DAY)
    account.run(3600)
    assert account.published == account.results
    assert account.services.cursors.position(NAME, "links").cursor is not None
    assert all(watch.rechecks <= 1 for watch in account.services.watches.list(NAME))


def test_what_never_comes_in_a_long_list_is_announced_at_its_deadline_and_ends(state: redis.Redis) -> None:
    account = Account(state, pages=30, expected=1, deadline=DAY)
    account.run(3 * 3600)
    assert account.published == account.results
    account.run(DAY, every=1800.0)
    assert account.services.watches.list(NAME) == ()
    assert journal(state).count(("attempt.overdue", "link:1")) == 1


class LongSearch:
    """An expectation whose recheck needs ten calls, at eight an hour of which three are left to the poll."""

    def __init__(self, state: redis.Redis, *, deadline: float) -> None:
        self.moment = START
        vendor = replace(make_vendor(Api(lambda: self.moment)), recheck=self.search)
        self.services = make_services(state, vendor, lambda: self.moment, budget=(8, 3600.0))
        pointer = Pointer(key="a:1", reference={"sitting": "1"})
        self.services.expectations.expect(NAME, [pointer], label="x", due=START, deadline=START + deadline, now=START)

    def search(self, client: Client, _reference: Mapping[str, str]) -> list[Record]:
        for number in range(10):
            client.calls.request("GET", f"https://api.example.test/{number}")
        return []


def test_a_recheck_that_the_budget_cuts_short_counts(state: redis.Redis) -> None:
    world = LongSearch(state, deadline=DAY)
    assert recheck(world.services, NAME).outcome == "cut_short"
    (watch,) = world.services.watches.list(NAME)
    assert (watch.rechecks, watch.due) == (1, START + 60.0)


def test_a_recheck_that_needs_more_than_the_budget_ends_at_its_deadline(state: redis.Redis) -> None:
    world = LongSearch(state, deadline=600.0)
    recheck(world.services, NAME)
    world.moment += 3700.0
    recheck(world.services, NAME)
    assert world.services.watches.list(NAME) == ()
    assert journal(state) == [("attempt.overdue", "a:1")]


def _ignore_shares(patch: pytest.MonkeyPatch) -> None:
    """Rechecks leave nothing to the poll."""
    shares = {
        spender: {} if spender in (OVERDUE, POINTER) else of for spender, of in windows._RESERVED_PER_CENT.items()
    }
    patch.setattr(windows, "_RESERVED_PER_CENT", shares)


def _treat_cut_rechecks(patch: pytest.MonkeyPatch, count: Callable[..., None]) -> None:
    """`count` gets what would be counted of a recheck that the budget has cut short."""
    cut: list[bool] = []
    plain_cut_short, plain_count = rechecks._cut_short, rechecks._count

    def cut_short(*args: Any) -> None:
        cut.append(True)
        plain_cut_short(*args)

    def counted(*args: Any, answer: Found | None) -> None:
        if cut:
            cut.clear()
            count(plain_count, *args, answer=answer)
        else:
            plain_count(*args, answer=answer)

    patch.setattr(rechecks, "_cut_short", cut_short)
    patch.setattr(rechecks, "_count", counted)


def _count_no_cut_recheck(patch: pytest.MonkeyPatch) -> None:
    _treat_cut_rechecks(patch, lambda _plain, *_args, answer: None)


def _never_end(patch: pytest.MonkeyPatch) -> None:
    """A recheck that is too long is repeated after its deadline, too."""
    _treat_cut_rechecks(patch, lambda plain, *args, answer: plain(*args, answer=None))


MUTANTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Callable[[redis.Redis], None]]] = {
    "rechecks leave nothing to the poll": (
        _ignore_shares,
        lambda state: test_the_first_poll_of_2000_results_ends_within_the_hour_however_many_are_expected(state, 5),
    ),
    "a recheck that is cut short does not count": (
        _count_no_cut_recheck,
        test_a_recheck_that_the_budget_cuts_short_counts,
    ),
    "a recheck that is too long never ends": (
        _never_end,
        test_a_recheck_that_needs_more_than_the_budget_ends_at_its_deadline,
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_budget_is_noticed(mutant: str, state: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it, notices = MUTANTS[mutant]
    break_it(monkeypatch)
    with pytest.raises(AssertionError):
        notices(state)
