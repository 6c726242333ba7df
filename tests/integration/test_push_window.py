"""Push over real HTTP: receivers that fail in every way, and processes that are killed at every point of the window."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.net import push_client
from bridge.net.standard_webhooks import SigningSecret
from bridge.services import Services
from bridge.state import keys
from tests.support.child_processes import Child, services
from tests.support.dispatch import publish
from tests.support.servers import Server
from tests.support.waiting import until
from workers.dispatch.process import Dispatcher
from workers.dispatch.schedule import Limits
from workers.dispatch.window_lane import WINDOW_CRASH_POINTS

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FAULTS = ("drips", "hangs", "closes", "refuses", "redirects")


class Hook(ThreadingHTTPServer):
    """Counts what it takes, by event id, and the requests that it fails in the way that `fault` names."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        self.fault = ""
        self.delay = 0.0
        self.taken: Counter[str] = Counter()
        self.order: list[str] = []
        self.failed = 0
        self.mended = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                if hook.fault:
                    hook.failed += 1
                    getattr(self, hook.fault)()
                    return
                hook.mended.wait(hook.delay)
                hook.taken[self.headers["webhook-id"]] += 1
                hook.order.append(self.headers["webhook-id"])
                self.answer(204)

            def drips(self) -> None:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not hook.mended.wait(0.05):
                    self.wfile.write(b"x")
                self.close_connection = True

            def hangs(self) -> None:
                hook.mended.wait(20)
                self.close_connection = True

            def closes(self) -> None:
                self.close_connection = True

            def refuses(self) -> None:
                self.answer(503)

            def redirects(self) -> None:
                self.answer(302, location=hook.url + "elsewhere")

            def answer(self, status: int, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def handle(self) -> None:
                with suppress(OSError):
                    super().handle()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_: Any) -> None:
        """The client may close at any time."""


@contextmanager
def hooks(number: int) -> Iterator[list[Hook]]:
    made = [Hook() for _ in range(number)]
    try:
        yield made
    finally:
        for hook in made:
            hook.mended.set()
            hook.shutdown()
            hook.server_close()


def subscription(name: str, hook: Hook, **members: Any) -> Subscription:
    policy = RetryPolicy(schedule=(0.05,) * 400, jitter=0.5)
    return Subscription(
        name=name,
        transport="http",
        url=hook.url,
        allow_private=True,
        retry=policy,
        **{"secrets": (SigningSecret(SECRET),), **members},
    )


@contextmanager
def serving(what: Services) -> Iterator[None]:
    """A dispatch process that probes often, in a thread of this one."""
    dispatcher, stop = Dispatcher(what, limits=Limits(open_for=0.1)), threading.Event()
    running = threading.Thread(target=dispatcher.serve, args=(stop,))
    running.start()
    try:
        yield
    finally:
        stop.set()
        running.join(10)


def counts(state: redis.Redis, name: str, hook: Hook, ids: list[str]) -> dict[str, int]:
    """What was published, settled as delivered, taken by the receiver, lost, and taken more than once."""
    result = Deliveries(state).state(name, now=time.time())
    return {
        "published": len(ids),
        "acked": result.delivered,
        "delivered": len(hook.taken),
        "lost": len(set(ids) - set(hook.taken)),
        "repeated": sum(hook.taken.values()) - len(hook.taken),
        "dead": result.dead_letters,
    }


ALL = {"published": 60, "acked": 60, "delivered": 60, "lost": 0, "repeated": 0, "dead": 0}


@pytest.mark.usefixtures("starts_processes")
def test_receivers_that_fail_in_any_way_delay_no_other_and_get_everything_once_when_they_are_mended(
    server: Server, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_client, "DEADLINE_SECONDS", 2.0)
    with hooks(len(FAULTS) + 1) as (healthy, *faulty):
        for hook, fault in zip(faulty, FAULTS, strict=True):
            hook.fault = fault
        all_hooks = dict(zip(("healthy", *FAULTS), (healthy, *faulty), strict=True))
        what = services(server, *(subscription(name, hook, concurrency=16) for name, hook in all_hooks.items()))
        ids = publish(state, *range(60))
        with serving(what):
            until(lambda: counts(state, "healthy", healthy, ids) == ALL)
            until(lambda: all(hook.failed >= 5 for hook in faulty))
            assert all(not hook.taken for hook in faulty)
            for hook in faulty:
                hook.fault = ""
                hook.mended.set()
            for name, hook in all_hooks.items():
                until(lambda: counts(state, name, hook, ids) == ALL)  # noqa: B023 - called at once
        assert state.xpending(keys.journal(0), keys.group("healthy"))["pending"] == 0
        assert not any("elsewhere" in path for hook in faulty for path in hook.order)


@pytest.mark.usefixtures("starts_processes")
def test_nothing_is_sent_while_every_secret_has_expired_and_all_of_it_once_there_is_a_new_one(
    server: Server, state: redis.Redis
) -> None:
    with hooks(1) as (hook,):
        expired = subscription("crm", hook, secrets=(SigningSecret(SECRET, expires=time.time() - 1),))
        ids = publish(state, *range(60))
        deliveries = Deliveries(state)
        with serving(services(server, expired)):
            until(lambda: deliveries.state("crm", now=time.time()).circuit == "open")
        waiting = deliveries.state("crm", now=time.time())
        assert waiting.circuit_reason.startswith("not sent: the last of `secrets` expired at ")
        assert (waiting.delivered, waiting.dead_letters, hook.taken) == (0, 0, Counter())
        with serving(services(server, subscription("crm", hook))):
            until(lambda: counts(state, "crm", hook, ids) == ALL)


#: A dispatch process that is killed the third time it comes to a named point.
DRIVER = """
import os, signal, sys, threading
from bridge.config.model import RetryPolicy, Subscription
from bridge.net.standard_webhooks import SigningSecret
from workers.dispatch.process import Dispatcher
from tests.support.child_processes import services

class At:
    def __init__(self, url, broker):
        self.url, self.broker_url = url, broker

state, hook, secret, point = sys.argv[1:5]
hits = 0
def crash(here):
    global hits
    hits += here == point
    if hits == (1 if point in ("judged", "parked", "recalled") else 3):
        os.kill(os.getpid(), signal.SIGKILL)

crm = Subscription(
    name="crm", transport="http", url=hook, secrets=(SigningSecret(secret),), allow_private=True, concurrency=4,
    retry=RetryPolicy(schedule=(0.05,) * 400),
)
dispatcher = Dispatcher(services(At(state, state), crm), silent=1.0, crash=crash)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
dispatcher.serve(stop)
"""


@pytest.mark.long
@pytest.mark.usefixtures("starts_processes")
@pytest.mark.parametrize("point", [point for point in WINDOW_CRASH_POINTS if point not in ("parked", "recalled")])
def test_a_process_killed_at_any_point_of_the_window_is_replaced_and_nothing_is_lost(
    server: Server,
    state: redis.Redis,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    point: str,
) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    ids = publish(state, *range(60))
    with hooks(1) as (hook,):
        hook.fault, hook.delay = "refuses" if point == "judged" else "", 0.01
        doomed = Child.forked(str(driver), server.url, hook.url, SECRET, point)
        assert doomed.process.wait(60) == -signal.SIGKILL
        doomed.end()
        hook.fault = ""
        heir = Child.forked(str(driver), server.url, hook.url, SECRET, "never")
        until(lambda: counts(state, "crm", hook, ids)["lost"] == 0)
        until(lambda: state.xpending(keys.journal(0), keys.group("crm"))["pending"] == 0)
        until(lambda: state.zcard(keys.retry("crm")) == 0)
        assert heir.end() == 0
        result = counts(state, "crm", hook, ids)
    record_property("faults", json.dumps(result))
    assert (result["acked"], result["dead"]) == (60, 0)
    # What was under way, or answered and not settled: at most four times the concurrency.
    assert result["repeated"] <= 16
    assert state.xinfo_consumers(keys.journal(0), keys.group("crm")) == []


@pytest.mark.usefixtures("starts_processes")
def test_a_stop_waits_for_what_is_under_way_and_repeats_nothing(server: Server, state: redis.Redis) -> None:
    ids = publish(state, *range(60))
    with hooks(1) as (hook,):
        hook.delay = 0.2
        for _ in range(2):
            dispatcher, stop = Dispatcher(services(server, subscription("crm", hook, concurrency=8))), threading.Event()
            running = threading.Thread(target=dispatcher.serve, args=(stop,))
            before = len(hook.taken)
            running.start()
            try:
                until(lambda: len(hook.taken) > before)  # noqa: B023 - called at once
            finally:
                stop.set()
                running.join(10)
            assert not running.is_alive()
            assert counts(state, "crm", hook, ids)["acked"] == len(hook.taken)
        assert counts(state, "crm", hook, ids)["repeated"] == 0
