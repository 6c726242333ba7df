"""For tests of dispatch: journal entries, a transport with set outcomes, a lane, scheduled deliveries, replays."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import redis
from structlog.testing import capture_logs

from bridge.config.model import Subscription
from bridge.delivery.replay_jobs import DEAD_LETTERS, DONE, RUNNING, Replay
from bridge.delivery.replay_making import frozen_parts, named_parts
from bridge.delivery.replay_selection import REPLAY, Selection
from bridge.delivery.replay_store import Batch, Replays
from bridge.delivery.store import DeadLetter, Deliveries, Delivery
from bridge.errors import DeliveryFailed
from bridge.services import Services
from bridge.state import keys
from schemas.event import event_id
from tests.support.partitions import numbers
from workers.dispatch.lane import Lane
from workers.dispatch.process import run_dispatch
from workers.dispatch.replays import ReplayRunner
from workers.dispatch.schedule import Limits
from workers.dispatch.window_lane import WindowLane
from workers.transports.contract import Outcome, Outgoing, Transport, Try, WindowTransport

SOURCE = "eu-classmarker"
Verdict = Callable[[Outgoing], Outcome]


def event(
    number: int,
    *,
    kind: str = "attempt.completed",
    source: str = SOURCE,
    passed: bool | None = True,
    traceparent: str | None = None,
) -> dict[str, Any]:
    """An event with the members that dispatch uses."""
    path = f"/acme/sources/{source}"
    return {
        "specversion": "1.0",
        "id": event_id(path, f"a{number}", kind, 1),
        "source": path,
        "type": kind,
        "subject": f"a{number}",
        **({} if traceparent is None else {"traceparent": traceparent}),
        "data": {
            "attempt": {"id": f"a{number}", "revision": 1, "status": "completed"},
            "candidate": {"id": "c", "external_id": "E", "email": "sam@example.test", "name": "Zoë Reyes"},
            "result": {"score": 21.0, "passed": passed},
            "links": {"report": "https://example.test/r", "certificate": None, "request": None},
        },
    }


def publish(
    state: redis.Redis, *numbers: int, partition: int = 0, recorded: float | None = None, **members: Any
) -> list[str]:
    """Append events to the journal; returns their ids. `recorded`: when, UNIX seconds; None: now."""
    entry = "*" if recorded is None else f"{recorded * 1000:.0f}-*"
    ids = []
    for number in numbers:
        made = event(number, **members)
        fields = {"id": made["id"], "type": made["type"], "source": members.get("source", SOURCE)}
        text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
        state.xadd(keys.journal(partition), {**fields, "attempt": f"a{number}", "event": text}, id=entry)
        ids.append(made["id"])
    return ids


class Receiver:
    """A transport that records the events it gets. `answer` decides each outcome: None, or a failure.

    `status`, `body`: of the answer to each try.
    """

    def __init__(
        self, answer: Verdict | None = None, *, batch: int = 8, status: int | None = None, body: bytes = b""
    ) -> None:
        self.batch, self.status, self.body = batch, status, body
        self.answer: Verdict = answer or (lambda sent: None)
        self.got: list[Outgoing] = []
        self.batches: list[int] = []

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        self.batches.append(len(events))
        self.got += events
        return [Try(self.answer(event), now, 0.25, self.status, self.body) for event in events]

    def close(self) -> None:
        self.got.clear()

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.got]


class WindowReceiver(Receiver):
    """The same for a lane with a window. Events whose answer is `HELD` are answered when `release` is called."""

    def __init__(self, answer: Verdict | None = None, *, concurrency: int = 8) -> None:
        super().__init__(answer, batch=concurrency)
        self.concurrency = concurrency
        #: Events under way, at any one time: number -> event.
        self.under_way: dict[int, Outgoing] = {}
        self.most = 0
        self._results: list[tuple[int, Try]] = []
        self._turns: deque[tuple[int, Outgoing]] = deque()
        self._held_back = False

    def start(self, events: Sequence[tuple[int, Outgoing]], *, now: float) -> None:
        self._turns += events
        self._held_back = False
        self._take_turns(now)

    def _take_turns(self, now: float) -> None:
        while self._turns and not self._held_back and len(self.under_way) < self.concurrency:
            free = min(len(self._turns), self.concurrency - len(self.under_way))
            begun = [self._turns.popleft() for _ in range(free)]
            for number, event in begun:
                attempts = [(each.source, each.attempt) for each in self.under_way.values()]
                assert (event.source, event.attempt) not in attempts, "two events of one attempt are under way"
                self.got.append(event)
                self.under_way[number] = event
            self.most = max(self.most, len(self.under_way))
            for number, event in begun:
                self._answer(number, event, now)

    def withdraw(self) -> list[int]:
        waiting = [number for number, _ in self._turns]
        self._turns.clear()
        return waiting

    def results(self, timeout: float = 0.0) -> list[tuple[int, Try]]:
        results, self._results = self._results, []
        return results

    def release(self, now: float = 1000.0) -> None:
        """Answer what was held back, as `answer` says by now."""
        for number, event in list(self.under_way.items()):
            self._answer(number, event, now)
        self._take_turns(now)

    def _answer(self, number: int, event: Outgoing, now: float) -> None:
        outcome = self.answer(event)
        if outcome is not HELD:
            del self.under_way[number]
            self._results.append((number, Try(outcome, now, 0.0)))
            # A failure of the receiver is judged before it gets more.
            self._held_back = self._held_back or (outcome is not None and not outcome.about_event)


#: The answer of `WindowReceiver` that does not come yet.
HELD = DeliveryFailed("held")


def outcomes(transport: Transport, events: Sequence[Outgoing], *, now: float = 1.0) -> list[Outcome]:
    """What came of each event that is sent now."""
    return [tried.failure for tried in transport.send(events, now=now)]


def refuse(_: Outgoing) -> Outcome:
    return DeliveryFailed("receiver answered 500", reason="receiver_error")


def lane(
    state: redis.Redis,
    transport: Any,
    *,
    subscription: Subscription | None = None,
    consumer: str = "one",
    limits: Limits | None = None,
    crash: Callable[[str], None] = lambda point: None,
    kind: type[Lane] = Lane,
    partition: int = 0,
) -> Lane:
    if isinstance(transport, WindowTransport):
        kind = WindowLane
    return kind(
        subscription or Subscription(name="crm", transport="http"),
        partition,
        transport=transport,
        state=state,
        blocking_client=state,
        consumer=consumer,
        limits=limits or Limits(),
        crash=crash,
    )


def at(moment: float) -> Callable[[], float]:
    return lambda: moment


def even() -> float:
    """A draw without jitter."""
    return 0.5


def run_until_idle(lane: Lane, moment: float, *, steps: int = 100) -> int:
    """Step until nothing is left to do at `moment`; returns the number of steps."""
    for count in range(1, steps + 1):
        if lane.step(at(moment), even) > 0:
            return count
    raise AssertionError(f"still busy after {steps} steps")


def send_due(
    state: redis.Redis, transport: Any, subscription: Subscription, moment: float, *, steps: int = 100
) -> None:
    """Send what is due at `moment`, in every partition."""
    for partition in numbers():
        run_until_idle(lane(state, transport, subscription=subscription, partition=partition), moment, steps=steps)


def scheduled(state: redis.Redis, subscription: str) -> list[Delivery]:
    """The deliveries that wait for a retry or a receipt, soonest first."""
    ids: Any = state.zrange(keys.retry(subscription), 0, -1)
    records: Any = state.hmget(keys.deliveries(subscription), ids) if ids else []
    stored = [(name, record) for name, record in zip(ids, records, strict=True) if record is not None]
    return [Delivery.for_display(record, name.decode()) for name, record in stored]


def replay_all(deliveries: Deliveries, subscription: str, *, now: float, group: str = "") -> int:
    """Replay the dead letters that still have their event, as a job; returns the number moved. `group`: its alone."""
    numbers = {"partitions": deliveries.partitions, "since": None, "until": None}
    parts = frozen_parts(deliveries.client, DEAD_LETTERS, [subscription], **numbers)  # type: ignore[arg-type]
    return _run(deliveries, Replay(id=str(uuid4()), kind=DEAD_LETTERS, parts=parts, group=group), now)


def replay_one(deliveries: Deliveries, subscription: str, letter: DeadLetter, *, now: float) -> int:
    """Replay one dead letter, as a job; returns 0 if it was gone already or has no event."""
    partition, _, entry = letter.id.partition(":")
    parts = named_parts([(subscription, int(partition), entry)])
    return _run(deliveries, Replay(id=str(uuid4()), kind=DEAD_LETTERS, parts=parts), now)


def _run(deliveries: Deliveries, job: Replay, now: float) -> int:
    """What the dispatch process does with a job, at once."""
    store = Replays(deliveries.client, partitions=deliveries.partitions)
    selection = Selection(deliveries.client, job, {})
    store.add(job)
    for part in job.parts:
        after, last = "", False
        while not last:
            page = selection.page(part, after, 50)
            chosen = [candidate for candidate in page.candidates if candidate.verdict == REPLAY]
            items = [selection.record(candidate) for candidate in chosen]
            store.schedule(job, Batch(part=part, before=after, after=page.after, last=page.last, items=items), now=now)
            after, last = page.after, page.last
    store.change(job.id, DONE, (RUNNING,), now=now)
    done = store.get(job.id)
    assert done is not None
    return done.counts["replayed"]


@contextmanager
def replaying(services: Services) -> Iterator[None]:
    """The part of a dispatch process that runs replay jobs, in a thread of this one; its log is not printed."""
    stop, runner = threading.Event(), ReplayRunner(services, "test", live_seconds=0.0)

    def run() -> None:
        while not stop.wait(0.01):
            runner.step(services.now)

    running = threading.Thread(target=run)
    with capture_logs():
        running.start()
        try:
            yield
        finally:
            stop.set()
            running.join(10)
            assert not running.is_alive()


@contextmanager
def dispatching(what: Services) -> Iterator[None]:
    """A dispatch process, in a thread of this one."""
    stop = threading.Event()
    running = threading.Thread(target=run_dispatch, args=(what, stop))
    running.start()
    try:
        yield
    finally:
        stop.set()
        running.join(10)
        assert not running.is_alive()
