"""Worker and beat as real processes over a real server: ticks become polls, faults pass, SIGTERM ends them cleanly."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.polling import journal

pytestmark = pytest.mark.usefixtures("starts_processes")

#: A process of the bridge with a vendor whose API is the HTTP server of the test. argv: part, state, broker, API.
DRIVER = """
import json, logging, signal, sys, threading, time
from dataclasses import replace
from bridge.config.model import PollConfig
from bridge.config import PollConfig, Subscription
from bridge.services import Services
from bridge.sdk.vendor import Page, Record
from tests.support.polling import Api, make_services, make_vendor
import redis

part, state, broker, api = sys.argv[1:5]
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(message)s")

class Client:
    def __init__(self, calls): self.calls = calls
    def page(self, cursor):
        status, _, body = self.calls.request("GET", f"{api}/results", params=[("after", cursor)])
        found = json.loads(body)
        rows = [Record("results", row) for row in found["rows"]]
        return Page(records=rows, cursor=found["cursor"], more=found["more"])
    def one(self, sitting):
        status, _, body = self.calls.request("GET", f"{api}/one", params=[("id", sitting)])
        return [Record("results", json.loads(body))]

vendor = make_vendor(Api(clock=time.time))
poll = replace(vendor.polls["results"], fetch=lambda client, cursor: client.page(cursor))
vendor = replace(
    vendor,
    connect=lambda source, calls: Client(calls),
    polls={"results": poll},
    recheck=lambda client, reference: client.one(reference["sitting"]),
    recheck_schedule=(0.2,),
)
built = make_services(
    redis.Redis.from_url(state), vendor, time.time, poll=PollConfig(every=float(sys.argv[5]), overlap=5, look_back=3600)
)
gradebook = Subscription(name="gradebook", transport="celery", task="gradebook.done", queue="gradebook")
config = replace(built.config, subscriptions={"gradebook": gradebook})
services = replace(built, state_url=state, broker_url=broker, config=config)
import workers.tasks
# At night it would ask the vendor, too, and these tests count calls.
workers.tasks.nightly = lambda services, stopping: []
from workers.app import run_beat, run_worker
from workers.dispatch import run_dispatch

def dispatch(services):
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run_dispatch(services, stop)

{"worker": run_worker, "beat": run_beat, "dispatch": dispatch}[part](services)
print("clean end", flush=True)
"""


class _Vendor(ThreadingHTTPServer):
    """Answers pages of two from `rows`; `hold` keeps every answer back."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rows: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.hold = threading.Event()
        self.hold.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Vendor

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        value = query.partition("=")[2]
        self.server.asked.append(path)
        self.server.hold.wait(20)
        if path == "/one":
            answer: Any = next(row for row in self.server.rows if row["id"] == value)
        else:
            rows = [row for row in self.server.rows if row["finished"] >= float(value)]
            cursor = str(rows[1]["finished"]) if len(rows) > 1 else None
            answer = {"rows": rows[:2], "cursor": cursor, "more": len(rows) > 2}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def vendor() -> Iterator[_Vendor]:
    server = _Vendor()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def start(own_server: Any, vendor: _Vendor, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `worker`, `beat` or `dispatch`; whatever still runs at the end of the test is killed."""
    running: list[subprocess.Popen[str]] = []
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)

    def run(part: str, *, every: float = 1.0, broker: str | None = None) -> subprocess.Popen[str]:
        log = (tmp_path / f"{part}-{len(running)}.log").open("w")
        servers = (own_server.url, broker or own_server.broker_url)
        args = [sys.executable, str(driver), part, *servers, vendor.url, str(every)]
        process = subprocess.Popen(args, stdout=log, stderr=log, text=True, cwd=tmp_path)
        log.close()
        process.log = Path(log.name)  # type: ignore[attr-defined]
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for(what: Callable[[], object], *processes: Any, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        for process in processes:
            if process.poll() is not None:
                raise AssertionError(f"exited {process.returncode}: {process.log.read_text()[-3000:]}")
        if time.monotonic() > deadline:
            logs = "\n".join(process.log.read_text()[-3000:] for process in processes)
            raise AssertionError(f"not within {seconds} s\n{logs}")
        time.sleep(0.05)


def _row(number: int, *, graded: bool = True) -> dict[str, Any]:
    return {"id": f"{number}", "finished": int(time.time()) - 100 + number, "score": 10, "graded": graded}


@contextmanager
def _client(own_server: Any) -> Iterator[redis.Redis]:
    client = own_server.client()
    yield client
    client.close()


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert "clean end" in process.log.read_text()  # type: ignore[attr-defined]


def test_ticks_become_polls_and_looks_and_both_processes_end_on_sigterm(
    start: Any, own_server: Any, vendor: _Vendor, tmp_path: Path
) -> None:
    vendor.rows += [_row(number, graded=number != 2) for number in range(5)]
    worker, beat = start("worker"), start("beat")
    with _client(own_server) as client:
        wait_for(lambda: len(journal(client)) == 5, worker, beat)
        assert sorted(attempt for _, attempt in journal(client)) == [f"a:{number}" for number in range(5)]

        # The watch of this test's vendor is due after 60 s; the clock of a real process cannot be turned.
        client.zadd("ab:watch:eu-little:rereads", {"a:2": time.time()}, xx=True)
        wait_for(lambda: "/one" in vendor.asked, worker, beat)
        vendor.rows[2]["graded"] = True
        wait_for(lambda: ("attempt.revised", "a:2") in journal(client), worker, beat)

        # One more full turn after the news: nothing is published again.
        asked = len(vendor.asked)
        wait_for(lambda: len(vendor.asked) >= asked + 6, worker, beat)
        assert len(journal(client)) == 6
        for process in ("worker", "beat"):
            wait_for(lambda process=process: client.ttl(f"ab:heartbeat:{process}") > 0, worker, beat)
    _stop(worker)
    _stop(beat)
    assert [path.name for path in tmp_path.iterdir() if "celerybeat" in path.name] == []


def test_two_beats_and_two_workers_poll_no_more_often_than_one(start: Any, own_server: Any, vendor: _Vendor) -> None:
    vendor.rows.append(_row(1))
    processes = [start("worker", every=3600), start("worker", every=3600), start("beat", every=3600)]
    with _client(own_server) as client:
        wait_for(lambda: len(journal(client)) == 1, *processes)
        # A beat starts by sending everything, housekeeping too; what was polled a moment ago is left alone.
        tidied = "".join(process.log.read_text() for process in processes).count("housekeeping ")
        processes.append(start("beat", every=3600))
        wait_for(
            lambda: "".join(process.log.read_text() for process in processes).count("housekeeping ") > tidied,
            *processes,
        )
        broker = redis.Redis.from_url(own_server.broker_url)
        wait_for(lambda: broker.llen("attempt-bridge") == 0, *processes)
        broker.close()
    for process in processes:
        _stop(process)
    assert vendor.asked == ["/results"]


def test_a_worker_that_is_killed_in_a_poll_leaves_nothing_lost_or_doubled(
    start: Any, own_server: Any, vendor: _Vendor
) -> None:
    vendor.rows += [_row(number) for number in range(5)]
    vendor.hold.clear()
    worker, beat = start("worker"), start("beat")
    wait_for(lambda: vendor.asked, worker, beat)
    worker.kill()
    worker.wait()
    vendor.hold.set()
    with _client(own_server) as client:
        assert journal(client) == []
        # Its lease would end by itself after a while; the test does not wait for that.
        assert client.delete("ab:lease:poll:eu-little") == 1
        worker = start("worker")
        wait_for(lambda: len(journal(client)) == 5, worker, beat)
        assert len({attempt for _, attempt in journal(client)}) == 5


def test_worker_and_beat_go_on_by_themselves_after_the_server_was_away(
    start: Any, own_server: Any, vendor: _Vendor
) -> None:
    vendor.rows.append(_row(1))
    worker, beat = start("worker"), start("beat")
    with _client(own_server) as client:
        wait_for(lambda: len(journal(client)) == 1, worker, beat)
    own_server.kill9()
    own_server.start()
    vendor.rows.append(_row(2))
    with _client(own_server) as client:
        wait_for(lambda: len(journal(client)) == 2, worker, beat, seconds=90)
        client.delete("ab:heartbeat:worker")
        wait_for(lambda: client.get("ab:heartbeat:worker"), worker, beat, seconds=60)


def test_ticks_that_nobody_took_in_time_are_thrown_away(start: Any, own_server: Any, vendor: _Vendor) -> None:
    beat = start("beat", every=0.5)
    broker = redis.Redis.from_url(own_server.broker_url)
    wait_for(lambda: broker.llen("attempt-bridge") >= 4, beat)
    expires = [json.loads(message)["headers"]["expires"] for message in broker.lrange("attempt-bridge", 0, -1)]
    broker.close()
    assert all(expires)
