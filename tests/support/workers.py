"""Worker, beat and dispatch as processes, at a vendor whose API is the test's own."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.forked import Forked

#: A process of the bridge with a vendor whose API is the HTTP server of the test. argv: part, state, broker, API.
DRIVER = """
import json, logging, signal, sys, threading, time
from dataclasses import replace
from bridge.config.model import PollConfig, Subscription
from bridge.polling.vendor_http import vendor_session
from bridge.services import Services
from bridge.sdk.vendor import Page, Record
from tests.support.polling import Api, make_services, make_vendor
from bridge.net.server_group import is_group
from bridge.services import clients_of
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
    clients_of(state).blocking if is_group(state) else redis.Redis.from_url(state),
    vendor,
    time.time,
    poll=PollConfig(every=float(sys.argv[5]), overlap=5, look_back=3600),
    vendor_session=vendor_session,
)
gradebook = Subscription(name="gradebook", transport="celery", task="gradebook.done", queue="gradebook")
config = replace(built.config, subscriptions={"gradebook": gradebook})
services = replace(built, state_url=state, broker_url=broker, config=config)
import workers.tasks
# At night it would ask the vendor, too, and these tests count calls.
workers.tasks.nightly = lambda services, stopping: []
from workers.app import run_beat, run_worker
from workers.dispatch.process import run_dispatch

def dispatch(services):
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run_dispatch(services, stop)

{"worker": run_worker, "beat": run_beat, "dispatch": dispatch}[part](services)
print("clean end", flush=True)
"""


class ListingVendor(ThreadingHTTPServer):
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
    server: ListingVendor

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


@contextmanager
def listing_vendor() -> Iterator[ListingVendor]:
    """A vendor that answers in a thread of the test."""
    server = ListingVendor()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Part(Forked):
    """One process; what it prints is in `log`."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            super().__init__(arguments, stdout=output, stderr=output, cwd=log.parent)


@contextmanager
def running_parts(directory: Path, state: str, own_broker: str, vendor_url: str) -> Iterator[Callable[..., Part]]:
    """Starts `worker`, `beat` or `dispatch`; whatever still runs at the end is killed."""
    running: list[Part] = []
    driver = directory / "driver.py"
    driver.write_text(DRIVER)

    def run(part: str, *, every: float = 1.0, broker: str | None = None) -> Part:
        log = directory / f"{part}-{len(running)}.log"
        args = [str(driver), part, state, broker or own_broker, vendor_url, str(every)]
        running.append(Part(args, log))
        return running[-1]

    try:
        yield run
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.wait()


def wait_for(what: Callable[[], object], *processes: Any, seconds: float = 40.0) -> None:
    """Wait until it is so, and fail with the logs when a process ends."""
    deadline = time.monotonic() + seconds
    while not what():
        for process in processes:
            if process.poll() is not None:
                raise AssertionError(f"exited {process.returncode}: {process.log.read_text()[-3000:]}")
        if time.monotonic() > deadline:
            logs = "\n".join(process.log.read_text()[-3000:] for process in processes)
            raise AssertionError(f"not within {seconds} s\n{logs}")
        time.sleep(0.05)


def stop(process: Part) -> None:
    """SIGTERM, and a clean end."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert "clean end" in process.log.read_text()
