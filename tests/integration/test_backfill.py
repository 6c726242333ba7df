"""The backfill as a process of its own: killed with -9 and resumed, stopped by a signal, its output for programs."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from werkzeug.wrappers import Request, Response

from bridge.state import keys
from bridge.vendors.classmarker.simulator import Behaviour, Simulator
from tests.support.forked import Forked
from tests.support.polling import journal
from tests.support.servers import serving

pytestmark = pytest.mark.usefixtures("starts_processes")

DAY = 86_400.0


class Command(Forked):
    """A command of the bridge under way; what it prints is in `out` and `err`."""

    def __init__(self, account: Account, *arguments: str) -> None:
        self._out, self._err = (Path(tempfile.mkdtemp(dir=account.directory)) / name for name in ("out", "err"))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            super().__init__(
                ["-m", "bridge", *arguments], stdout=out, stderr=err, cwd=account.directory, env=account.environment
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()


class Account:
    """A simulated account over HTTP, and commands of the bridge that reads it."""

    def __init__(self, directory: Path, environment: dict[str, str], state: redis.Redis) -> None:
        self.directory, self.environment, self.state = directory, environment, state
        self.simulator = Simulator(7, time.time, quota_calls=10_000, behaviour=Behaviour(page_size=4))
        #: Called before every answer with the number of the call.
        self.before: Callable[[int], None] = lambda number: None
        self.calls = 0

    @Request.application
    def vendor(self, request: Request) -> Response:
        self.calls += 1
        self.before(self.calls)
        return Response.from_app(self.simulator.wsgi, request.environ)

    def configure(self, address: str) -> None:
        (self.directory / "bridge.yaml").write_text(
            "demo: true\n"
            "bridge: {name: acme}\n"
            "sources:\n"
            "  eu:\n"
            "    vendor: classmarker\n"
            f"    base_url: {address}\n"
            "    credentials: {api_key: sandbox-key, api_secret: sandbox-secret, webhook_secret: phrase}\n"
            "    budget: {calls: 1000, per: 1h}\n"
            "subscriptions: {}\n"
        )

    def sit(self, count: int) -> Counter[str]:
        first = int(time.time() - 2 * DAY)
        return Counter(self.simulator.finish(time_finished=first + 60 * number) for number in range(count))

    def start(self, *arguments: str) -> Command:
        return Command(self, *arguments)

    def week(self, *more: str) -> Command:
        days = (time.strftime("%Y-%m-%d", time.gmtime(time.time() - ago * DAY)) for ago in (6, 0))
        return self.start("backfill", "--source", "eu", "--from", next(days), "--to", next(days), *more)

    def job(self) -> dict[str, Any]:
        (job,) = self.state.hvals("ab:{backfills}:jobs")
        result: dict[str, Any] = json.loads(job)
        return result

    @property
    def completed(self) -> Counter[str]:
        return Counter(attempt for kind, attempt in journal(self.state) if kind == "attempt.completed")


@pytest.fixture
def account(tmp_path: Path, server: Any, state: redis.Redis) -> Iterator[Account]:
    servers = {"ATTEMPT_BRIDGE_STATE": server.url, "ATTEMPT_BRIDGE_BROKER": server.broker_url}
    account = Account(tmp_path, {**os.environ, **servers}, state)
    with serving(account.vendor) as address:
        account.configure(address)
        yield account


@pytest.mark.parametrize("call", [1, 2, 4])
def test_killed_with_9_and_resumed_it_has_published_everything_exactly_once(account: Account, call: int) -> None:
    expected = account.sit(24)
    process = account.week()
    account.before = lambda number: process.kill() if number == call else None

    assert process.wait(30) == -signal.SIGKILL
    account.before = lambda number: None
    # The minute after which the source is free again.
    account.state.delete(keys.lease("backfill:eu"), keys.lease("poll:eu"))
    again = account.start("backfill", "resume", account.job()["id"])

    assert again.wait(60) == 0, again.err
    assert "done; " in again.out
    assert account.completed == expected
    assert account.job()["state"] == "done"


def test_sigterm_stops_it_after_the_page_at_hand(account: Account) -> None:
    account.sit(24)
    process = account.week()
    account.before = lambda number: process.terminate() if number == 2 else None

    assert process.wait(60) == 130
    assert "stopped; 2 pages" in process.out
    assert f"continue with attempt-bridge backfill resume {account.job()['id']}" in process.err
    assert account.state.exists(keys.lease("backfill:eu"), keys.lease("poll:eu")) == 0


def test_what_it_prints_for_programs_is_nothing_but_data(account: Account) -> None:
    expected = account.sit(6)

    process = account.start("reconcile", "--source", "eu", "-o", "json")

    assert process.wait(60) == 4, process.err
    assert Counter(json.loads(process.out)["ids"]["missing"]) == expected
    assert "{" not in process.err
