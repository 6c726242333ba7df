"""The poll engine against ClassMarker's simulator over real HTTP and a real state server; time is the test's own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import redis
from werkzeug.serving import make_server

from bridge.config.model import PollConfig
from bridge.polling.vendor_http import vendor_session
from bridge.quota.windows import Window
from bridge.registry import vendors
from bridge.services import Services
from bridge.vendors.classmarker.simulator import Behaviour, Simulator
from tests.support.polling import START, journal, make_services, with_source
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

NAME = "eu-little"
HOUR = 3600.0


class Account:
    """A simulated account behind a real HTTP server, and the bridge's services that read it."""

    def __init__(self, state: redis.Redis, *, behaviour: Behaviour, quota: int = 30, **source: Any) -> None:
        self.state = state
        self.moment = START
        self.simulator = Simulator(7, lambda: self.moment, quota_calls=quota, behaviour=behaviour)
        self.server = make_server("127.0.0.1", 0, self.simulator.wsgi, threaded=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        vendor = vendors()["classmarker"]
        plain = make_services(state, vendor, lambda: self.moment, budget=(30, HOUR), vendor_session=vendor_session)
        options = {name: option.default for name, option in vendor.options.items()}
        credentials = {"api_key": ("sandbox-key",), "api_secret": ("sandbox-secret",)}
        self.services: Services = with_source(
            plain,
            base_url=f"http://127.0.0.1:{self.server.server_port}",
            poll=PollConfig(every=300, overlap=900, look_back=7 * 86_400),
            **{"credentials": credentials, "options": options, **source},
        )

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def completed(self) -> Counter[str]:
        return Counter(attempt for kind, attempt in journal(self.state) if kind == "attempt.completed")

    def expected(self) -> Counter[str]:
        return Counter(self.simulator.expected().keys())

    def poll_for(self, seconds: float, every: float = 300.0) -> None:
        end = self.moment + seconds
        while self.moment < end:
            self.moment += every
            recheck(self.services, NAME)
            poll_once(self.services, NAME)


@pytest.fixture
def accounts(state: redis.Redis) -> Iterator[Any]:
    opened: list[Account] = []

    def build(behaviour: Behaviour | None = None, **options: Any) -> Account:
        opened.append(Account(state, behaviour=behaviour or Behaviour(), **options))
        return opened[-1]

    yield build
    for account in opened:
        account.close()


@pytest.mark.parametrize(("inclusive", "form"), [(False, "xml"), (True, "json")], ids=["after", "at or after"])
def test_every_attempt_is_published_once_while_new_ones_finish_and_pages_end_inside_a_second(
    accounts: Any, form: str, inclusive: bool
) -> None:
    behaviour = Behaviour(page_size=10, inclusive=inclusive, next_below=not inclusive, lag=600.0)
    account = accounts(behaviour, options={"signature": "sha256", "format": form})
    draw = Random(3)
    for number in range(60):
        account.simulator.finish(time_finished=START - 5000 + number // 4)

    for _ in range(12):
        for _ in range(draw.randrange(8)):
            account.simulator.finish(time_finished=account.moment - draw.randrange(200))
        account.poll_for(300.0)
    account.poll_for(2 * HOUR, every=900.0)

    assert account.completed() == account.expected()
    assert set(account.expected().values()) == {1}
    assert account.simulator.counts()["quota_refusals"] == 0


def test_a_quota_that_is_smaller_than_we_think_is_obeyed_after_one_refusal_a_window(accounts: Any) -> None:
    account = accounts(Behaviour(page_size=5), quota=6)
    for number in range(100):
        account.simulator.finish(time_finished=START - 5000 + number)

    account.poll_for(8 * HOUR)

    assert account.completed() == account.expected()
    assert 1 <= account.simulator.counts()["quota_refusals"] <= 9


def test_a_graded_attempt_is_revised_exactly_once(accounts: Any) -> None:
    account = accounts()
    attempts = [account.simulator.finish(requires_grading=True, points_available=10.0, points_scored=2.0) for _ in "ab"]
    account.poll_for(4 * HOUR, every=1800.0)
    assert {watch.key for watch in account.services.watches.list(NAME)} == set(attempts)

    account.simulator.grade(attempts[0], points_scored=9.0)
    account.poll_for(3 * 86_400.0, every=6 * HOUR)

    assert journal(account.state).count(("attempt.revised", attempts[0])) == 1
    assert account.completed() == account.expected()
    assert len(journal(account.state)) == 3
    assert [watch.key for watch in account.services.watches.list(NAME)] == [attempts[1]]


def test_a_reopened_attempt_is_revised_and_stays_one_attempt(accounts: Any) -> None:
    account = accounts()
    attempt = account.simulator.finish(requires_grading=False, points_available=10.0)
    account.poll_for(600.0)
    account.simulator.reopen(attempt, time_finished=account.moment)
    account.poll_for(600.0)

    assert journal(account.state) == [("attempt.completed", attempt), ("attempt.revised", attempt)]


def test_a_wrong_secret_stops_the_source_after_one_call_and_no_key_is_shown(accounts: Any) -> None:
    account = accounts(credentials={"api_key": ("sandbox-key",), "api_secret": ("wrong-canary",)})

    account.poll_for(HOUR)

    pause = account.services.budgets.paused(NAME, account.moment)
    assert pause is not None
    assert pause.indefinite
    assert "apiKeyAuthFail" in pause.reason
    assert account.services.budgets.status(NAME, Window(30, HOUR), START + 300).used == 1
    kept = b"".join(account.state.dump(key) or b"" for key in account.state.keys("ab:*"))
    assert b"canary" not in kept
    assert b"signature=" not in kept


def test_maintenance_keeps_the_cursor_and_passes(accounts: Any) -> None:
    account = accounts()
    account.simulator.finish()
    account.simulator.api_fault = "maintenance"
    account.poll_for(900.0)
    assert account.completed() == Counter()

    account.simulator.api_fault = None
    account.poll_for(600.0)
    assert account.completed() == account.expected()
