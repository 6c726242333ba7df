"""Rechecks and polls share ClassMarker's 30 calls an hour, over the simulated vendor: neither starves the other."""

from __future__ import annotations

import pytest
import redis

from bridge.config.model import PollConfig
from bridge.sdk.simulator import Faults
from bridge.vendors.classmarker import VENDOR
from bridge.vendors.classmarker.simulator import Behaviour, Simulator
from bridge.vendors.classmarker.simulator.api import create_api
from tests.support.contract.wire import session_over, wsgi
from tests.support.polling import DAY, START, journal, make_services, with_source
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

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
    fake_state: redis.Redis, expected: int
) -> None:
    account = Account(fake_state, pages=10, expected=expected, deadline=14 * DAY)
    account.run(3600)
    assert account.published == account.results
    assert account.services.cursors.position(NAME, "links").cursor is not None
    assert all(watch.rechecks <= 1 for watch in account.services.watches.list(NAME))


def test_what_never_comes_in_a_long_list_is_announced_at_its_deadline_and_ends(fake_state: redis.Redis) -> None:
    account = Account(fake_state, pages=30, expected=1, deadline=DAY)
    account.run(3 * 3600)
    assert account.published == account.results
    account.run(DAY, every=1800.0)
    assert account.services.watches.list(NAME) == ()
    assert journal(fake_state)[-1] == ("attempt.overdue", "link:1")
