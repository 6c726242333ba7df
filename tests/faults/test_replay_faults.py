"""Replay jobs whose process is killed: with quarantined records, in several partitions, and as a real process."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis

from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.replay_archive import Archive
from bridge.delivery.replay_jobs import DEAD_LETTERS, DONE, EVENTS, QUARANTINE, RUNNING, Replay
from bridge.delivery.replay_making import archived_parts, frozen_parts
from bridge.errors import DeliveryFailed
from bridge.journal.reading import Reader
from bridge.services import Services
from bridge.state import keys
from bridge.vendors.classmarker.simulator import Simulator
from tests.support import child_processes
from tests.support.child_processes import Child
from tests.support.dispatch import Receiver, outcomes, publish
from tests.support.servers import Server
from tests.support.sql_tables import made, outgoing, sqlite_place
from tests.support.waiting import until
from tests.support.watches_api import build
from workers.dispatch.process import Dispatcher
from workers.dispatch.replays import ReplayRunner
from workers.transports.contract import Outcome, Outgoing

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PARTITIONS = 3


def refuse_the_event(_: Outgoing) -> Outcome:
    """Opens no circuit, however often."""
    return DeliveryFailed("receiver answered 422", reason="receiver_refused", about_event=True)


class Killed(BaseException):
    """The process ended here."""


def add_job(services: Services, kind: str) -> Replay:
    """A job for everything of its kind, stored and running."""
    now, partitions = services.now(), services.config.bridge.partitions
    names = list(services.config.subscriptions)
    parts = frozen_parts(services.state, kind, names, partitions=partitions, since=None, until=None)
    job = Replay(id=f"replay-{kind}", kind=kind, parts=parts, created=now, by="test")
    services.replays.add(job)
    return job


def run_with_kills(services: Services, job: Replay, point: str) -> int:
    """Run the job to its end; each process dies when it comes to the point for the second time. How many died."""
    for died in range(100):
        passed = 0

        def crash(name: str) -> None:
            nonlocal passed
            passed += name == point
            if passed == 2:
                raise Killed

        # That of the dead process has ended.
        services.state.delete(keys.lease(f"replay:{job.id}"))
        runner = ReplayRunner(services, f"life-{died}", live_seconds=0.0, crash=crash)
        try:
            while services.replays.running():
                runner.step(services.now)
        except Killed:
            continue
        return died
    raise AssertionError("still running")


@pytest.mark.parametrize("point", ["reprocessed", "recorded"])
def test_quarantined_requests_are_read_again_once_each_although_processes_are_killed_at(
    state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr("workers.dispatch.replays._RECORDS", 3)
    services, simulator = build(state, tmp_path), Simulator(7, time.time)
    attempts = [simulator.finish() for _ in range(8)]
    for attempt in attempts:
        body = simulator.webhook(attempt)[0]
        services.quarantine.add(source="eu", origin="webhook", reason="no id", body=body, now=services.now())
    # One that stays unreadable.
    services.quarantine.add(source="eu", origin="webhook", reason="no id", body=b"{}", now=services.now())
    job = add_job(services, QUARANTINE)
    died = run_with_kills(services, job, point)
    assert died >= (3 if point == "reprocessed" else 1)
    assert sorted(event.attempt for event in Reader(state).events()) == sorted(attempts)
    assert [item.body for item in services.quarantine.list()] == [b"{}"]
    stored = services.replays.get(job.id)
    assert stored is not None
    assert stored.state == DONE
    assert stored.counts["failed"] == 1
    assert stored.counts["replayed"] == 8


def test_dead_letters_of_several_partitions_are_replayed_once_each_although_processes_are_killed(
    server: Server, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.dispatch.replays._BATCH", 4)
    named = [
        Subscription(name=name, transport="kombu", queue=name, retry=RetryPolicy(schedule=()))
        for name in ("crm", "lms")
    ]
    services = child_processes.services(server, *named, partitions=PARTITIONS)
    ids = [
        event_id
        for partition in range(PARTITIONS)
        for event_id in publish(state, *range(100 * partition, 100 * partition + 10), partition=partition)
    ]
    dispatcher = Dispatcher(services)
    failing = [Receiver(refuse_the_event) for _ in dispatcher.lanes]
    sent = send_all(dispatcher, failing)
    assert sent == Counter(dict.fromkeys(ids, 2))
    job = add_job(services, DEAD_LETTERS)
    assert run_with_kills(services, job, "scheduled") >= 2 * PARTITIONS
    assert send_all(dispatcher, [Receiver() for _ in dispatcher.lanes]) == Counter(dict.fromkeys(ids, 2))
    stored = services.replays.get(job.id)
    assert stored is not None
    assert {name: counts["replayed"] for name, counts in stored.by_subscription.items()} == {"crm": 30, "lms": 30}
    assert all(not list(services.deliveries.dead_letters(name)) for name in ("crm", "lms"))


def send_all(dispatcher: Dispatcher, receivers: list[Receiver]) -> Counter[str]:
    """What the receivers of all lanes got until nothing was due."""
    for lane, receiver in zip(dispatcher.lanes, receivers, strict=True):
        lane.transport = receiver
    while any([lane.step(dispatcher.now, lambda: 0.5) == 0 for lane in dispatcher.lanes]):  # noqa: C419 - each steps
        pass
    return Counter(event_id for receiver in receivers for event_id in receiver.ids)


class Hook(ThreadingHTTPServer):
    """Counts the event ids that it is sent, and those that name a replay job. After 20 of them it hangs until `go`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: Counter[str] = Counter()
        self.named: Counter[str] = Counter()
        self.go = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()


class _Handler(BaseHTTPRequestHandler):
    server: Hook
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.got[self.headers["webhook-id"]] += 1
        self.server.named[self.headers.get("bridge-replay", "")] += 1
        if len(self.server.got) > 20:
            self.server.go.wait(20)
        self.send_response(204)
        self.send_header("content-length", "0")
        self.end_headers()

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.go.set()
    made.shutdown()
    made.server_close()


#: A dispatch process with one subscription in two partitions. Leases and claims end soon, and little is due at once.
DRIVER = """
import signal, sys, threading
from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery import replay_store
from bridge.net.standard_webhooks import SigningSecret
from workers.dispatch import replays
from workers.dispatch.process import Dispatcher
from workers.dispatch.schedule import Limits
from tests.support.child_processes import services

class At:
    def __init__(self, url):
        self.url = self.broker_url = url

state, hook, secret = sys.argv[1:4]
replay_store._LEASE_SECONDS, replays._BATCH, replays._MAX_DUE = 1.0, 10, 20
crm = Subscription(
    name="crm", transport="http", url=hook, secrets=(SigningSecret(secret),), allow_private=True, concurrency=4,
    retry=RetryPolicy(schedule=()),
)
archive = [Subscription(name="warehouse", transport="sql", url=url) for url in sys.argv[4:]]
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
Dispatcher(services(At(state), crm, *archive, partitions=2), silent=1.0, limits=Limits(lease=2.0)).serve(stop)
"""


@pytest.mark.long
@pytest.mark.usefixtures("starts_processes")
def test_a_dispatch_process_killed_during_a_replay_is_replaced_and_every_dead_letter_is_delivered(
    server: Server,
    state: redis.Redis,
    hook: Hook,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    crm = Subscription(name="crm", transport="kombu", queue="crm", retry=RetryPolicy(schedule=()))
    services = child_processes.services(server, crm, partitions=2)
    ids = [
        event_id
        for partition in (0, 1)
        for event_id in publish(state, *range(1000 * partition, 1000 * partition + 50), partition=partition)
    ]
    dispatcher = Dispatcher(services)
    send_all(dispatcher, [Receiver(refuse_the_event) for _ in dispatcher.lanes])
    job = add_job(services, DEAD_LETTERS)
    run_with_kill9(services, job, ids, hook, tmp_path, server.url, record_property)
    assert list(services.deliveries.dead_letters("crm")) == []


@pytest.mark.long
@pytest.mark.usefixtures("starts_processes")
def test_a_dispatch_process_killed_during_a_replay_from_an_archive_is_replaced_and_every_event_is_delivered(
    server: Server,
    state: redis.Redis,
    hook: Hook,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    place = sqlite_place(str(tmp_path / "archive.db"))
    events = [{**made(number), "recordedtime": f"2024-03-01T10:00:{number % 60:02}.000Z"} for number in range(100)]
    transport = place.transport()
    assert set(outcomes(transport, outgoing(*events))) == {None}
    transport.close()
    crm = Subscription(name="crm", transport="kombu", queue="crm")
    services = child_processes.services(server, crm, place.subscription, partitions=2)
    with closing(Archive(place.subscription, services.event_index, services.now(), partitions=2)) as archive:
        parts = archived_parts(archive, ["crm"], partitions=2, since=None, until=None)
    job = Replay(id="replay-archive", kind=EVENTS, parts=parts, archive="warehouse", created=services.now(), by="test")
    services.replays.add(job)
    options = (hook, tmp_path, server.url, record_property, place.subscription.url or "")
    run_with_kill9(services, job, [event["id"] for event in events], *options)


def run_with_kill9(
    services: Services,
    job: Replay,
    ids: list[str],
    hook: Hook,
    tmp_path: Path,
    state_url: str,
    record_property: Callable[[str, object], None],
    *archive: str,
) -> None:
    """A dispatch process is killed in the middle of a job, and another one ends it: every event was sent."""
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    arguments = (str(driver), state_url, f"http://127.0.0.1:{hook.server_port}/", SECRET, *archive)
    doomed = Child.forked(*arguments)
    until(lambda: len(hook.got) > 20)
    doomed.process.send_signal(signal.SIGKILL)
    doomed.end()
    at_death, stored = len(hook.got), services.replays.get(job.id)
    assert stored is not None
    assert stored.state == RUNNING
    hook.go.set()
    heir = Child.forked(*arguments)
    try:
        until(lambda: services.replays.running() == [])
        until(lambda: services.deliveries.state("crm", now=time.time()).delivered == len(ids))
    finally:
        assert heir.end() == 0
    stored = services.replays.get(job.id)
    assert stored is not None
    repeated = hook.got.total() - len(hook.got)
    counts = {"chosen": len(ids), "at_death": at_death, "delivered": len(hook.got), "repeated": repeated}
    record_property("faults", str(counts))
    assert (stored.state, stored.counts["replayed"]) == (DONE, 100)
    assert set(hook.got) == set(ids)
    assert set(hook.named) == {job.id}
    # Only what was under way may have gone twice: four times the concurrency in each partition.
    assert repeated <= 2 * 4 * 4
