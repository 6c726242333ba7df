"""What nobody foresaw, in a lane and around it: it is one event's failure, and every other event goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bridge.config.model import Filter, Receipts, RetryPolicy, Subscription
from bridge.delivery.store import Deliveries, Delivery
from bridge.errors import ConfigError, DeliveryFailed
from bridge.state import keys
from tests.support.child_processes import services, until
from tests.support.dispatch import Receiver, at, even, event, lane, publish, replay_all, run_until_idle, scheduled
from tests.support.servers import Server
from workers import transports
from workers.dispatch import process as dispatch_module
from workers.dispatch.process import Dispatcher
from workers.dispatch.schedule import fault_backoff
from workers.transports.contract import Outgoing, Try, tries_of

NAME = "crm"
SHORT = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(5.0, 300.0), jitter=0.0))
#: Every class of exception that is built in and can be made without arguments.
KINDS = [
    kind
    for kind in (
        *Exception.__subclasses__(),
        *OSError.__subclasses__(),
        *ValueError.__subclasses__(),
        *ArithmeticError.__subclasses__(),
        *LookupError.__subclasses__(),
        *redis.RedisError.__subclasses__(),
    )
    if kind.__module__ in ("builtins", "redis.exceptions") and kind is not ExceptionGroup
]


def make(kind: type[Exception]) -> Exception:
    try:
        return kind("CANARY \ud800")
    except TypeError:
        return kind.__new__(kind)


class Raising(Receiver):
    """A transport whose `send` raises instead of answering, as long as `error` is set."""

    error: Exception | None = None

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        if self.error is not None:
            self.got += events
            raise self.error
        return super().send(events, now=now)


def pending(state: redis.Redis) -> int:
    return state.xpending(keys.journal(0), keys.group(NAME))["pending"]


@settings(
    max_examples=settings.default.max_examples * 6 // 10, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(KINDS))
def test_any_exception_from_a_send_is_a_failed_try_and_finally_a_dead_letter(
    empty_state: Callable[[], redis.Redis], kind: type[Exception]
) -> None:
    state = empty_state()
    ids = publish(state, 1, 2)
    receiver = Raising()
    receiver.error = make(kind)
    crm_lane = lane(state, receiver, subscription=SHORT)
    for moment in (1000.0, 1005.0, 1305.0, 99_999.0):
        run_until_idle(crm_lane, moment)
    letters = list(Deliveries(state).dead_letters(NAME))
    assert sorted(letter.delivery.id for letter in letters) == sorted(ids)
    assert {(letter.reason, letter.delivery.tries) for letter in letters} == {("unexpected_error", 3)}
    assert "CANARY" not in letters[0].delivery.error
    assert (pending(state), state.zcard(keys.retry(NAME))) == (0, 0)
    assert Deliveries(state).state(NAME, now=1.0).unexpected == 6
    receiver.error = None
    (more,) = publish(state, 3)
    run_until_idle(crm_lane, 200_000.0)
    assert receiver.ids[-1] == more


def test_an_unexpected_error_is_logged_with_its_place(state: redis.Redis) -> None:
    publish(state, 1)
    receiver = Raising()
    receiver.error = ValueError("CANARY")
    with capture_logs() as logs:
        run_until_idle(lane(state, receiver, subscription=SHORT), 1000.0)
    (line,) = [line for line in logs if line["event"] == "delivery_unexpected_error"]
    assert line["subscription"] == NAME
    assert line["exc_info"] is receiver.error


def test_too_few_tries_of_a_transport_are_failures(state: redis.Redis) -> None:
    publish(state, 1, 2)
    receiver = Receiver()
    receiver.send = lambda events, *, now: tries_of([None], at=now, seconds=0.0)  # type: ignore[method-assign]
    run_until_idle(lane(state, receiver, subscription=SHORT), 1000.0)
    result = Deliveries(state).state(NAME, now=1.0)
    assert (result.delivered, result.failed) == (0, 2)


def test_a_fault_of_our_own_after_the_send_charges_the_batch_and_does_not_repeat_it(
    state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(state, 1, 2)
    receiver = Receiver()
    crm_lane = lane(state, receiver, subscription=SHORT)
    monkeypatch.setattr(crm_lane._waits, "end", lambda: 1 / 0)
    run_until_idle(crm_lane, 1000.0)
    assert len(receiver.ids) == 2
    assert Deliveries(state).state(NAME, now=1.0).retrying == 2
    assert pending(state) == 0


# --- what stands in the state and cannot be read

WITH_ENTRY: dict[str, Any] = {"id": "e1", "type": "attempt.completed", "source": "eu", "attempt": "a"}


@pytest.mark.parametrize(
    "fields",
    [
        {"nothing": "x"},
        WITH_ENTRY,
        {**WITH_ENTRY, "id": b"\xff", "event": "{}"},
        {**WITH_ENTRY, "event": "{"},
        {**WITH_ENTRY, "event": b"\xff\xfe"},
        {**WITH_ENTRY, "event": "[]"},
        {**WITH_ENTRY, "event": '{"data": 5}'},
        {**WITH_ENTRY, "event": '{"data": null}'},
    ],
)
@pytest.mark.parametrize("selection", [Filter(when={"passed": True}), Filter()])
def test_an_entry_that_cannot_be_read_becomes_a_dead_letter_and_its_neighbours_are_sent(
    state: redis.Redis, fields: dict[str, Any], selection: Filter
) -> None:
    before = publish(state, 1)
    state.xadd(keys.journal(0), fields)
    after = publish(state, 2)
    receiver = Receiver()
    subscription = Subscription(name=NAME, transport="http", filter=selection, data="minimal", retry=SHORT.retry)
    crm_lane = lane(state, receiver, subscription=subscription)
    run_until_idle(crm_lane, 1000.0)
    assert receiver.ids == [*before, *after]
    (letter,) = Deliveries(state).dead_letters(NAME)
    assert letter.reason == "unreadable"
    assert letter.event == (
        fields.get("event", "").encode() if isinstance(fields.get("event", ""), str) else b"\xff\xfe"
    )
    assert pending(state) == 0
    assert Deliveries(state).state(NAME, now=1.0).unexpected == 1
    assert replay_all(Deliveries(state), NAME, now=2000.0) == (letter.event not in (b"", b"\xff\xfe"))


RECORD = Delivery(id="e1", type="attempt.completed", source="eu", attempt="a", entry="1-1")


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"id": "e1"}',
        b"[" * 5000,
        RECORD.to_json().replace('"1-1"', "7").encode(),
        RECORD.to_json().replace('"tries":0', '"tries":"many"').encode(),
        RECORD.to_json().replace('"event":null', '"event":5').encode(),
        RECORD.to_json().replace('"error":""', r'"error":"\ud800"').encode(),
    ],
)
def test_a_retry_whose_record_cannot_be_read_becomes_a_dead_letter_that_keeps_it(
    state: redis.Redis, record: bytes
) -> None:
    state.hset(keys.deliveries(NAME), "e1", record)
    state.zadd(keys.retry(NAME), {"e1": 999.0})
    good = publish(state, 1)
    receiver = Receiver()
    deliveries = Deliveries(state)
    (shown,) = scheduled(state, NAME)
    assert (shown.id, shown.reason) == ("e1", "unreadable")
    run_until_idle(lane(state, receiver, subscription=SHORT), 1000.0)
    assert receiver.ids == good
    (letter,) = deliveries.dead_letters(NAME)
    assert (letter.delivery.id, letter.reason) == ("e1", "unreadable")
    assert state.xrange(keys.dead(NAME))[0][1].get(b"record", b"") == record  # type: ignore[index]
    assert state.zcard(keys.retry(NAME)) == 0
    assert state.hlen(keys.deliveries(NAME)) == 0


def test_a_retry_with_an_invalid_entry_is_given_up_and_stops_no_other_retry(state: redis.Redis) -> None:
    good = publish(state, 1)
    receiver = Receiver(lambda sent: DeliveryFailed("no", reason="receiver_error"))
    crm_lane = lane(state, receiver, subscription=SHORT)
    run_until_idle(crm_lane, 1000.0)
    odd = Delivery(id="odd", type="attempt.completed", source="eu", attempt="a", entry="no-such")
    state.hset(keys.deliveries(NAME), "odd", odd.to_json())
    state.zadd(keys.retry(NAME), {"odd": 1004.0})
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 1005.0)
    assert receiver.ids == good * 2
    assert [letter.delivery.id for letter in Deliveries(state).dead_letters(NAME)] == ["odd"]


def test_an_error_with_half_a_surrogate_pair_can_be_stored(state: redis.Redis) -> None:
    publish(state, 1)
    receiver = Receiver(lambda sent: DeliveryFailed("odd \ud800", reason="receiver_error"))
    run_until_idle(lane(state, receiver, subscription=SHORT), 1000.0)
    assert scheduled(state, NAME)[0].error == "odd ?"
    receiver.answer = lambda sent: DeliveryFailed("odd \ud800", reason="broker_unavailable", charged=False)
    run_until_idle(lane(state, receiver, subscription=SHORT), 1005.0)
    assert Deliveries(state).state(NAME, now=1.0).blocked_by == "odd ?"


def test_blocked_by_names_the_problem_until_delivery_resumes(state: redis.Redis) -> None:
    publish(state, 1)
    receiver = Receiver(lambda sent: DeliveryFailed("broker: down", reason="broker_unavailable", charged=False))
    crm_lane = lane(state, receiver, subscription=SHORT)
    crm_lane.step(at(1000.0), even)
    assert Deliveries(state).state(NAME, now=1.0).blocked_by == "broker: down"
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 1010.0)
    assert Deliveries(state).state(NAME, now=1.0).blocked_by == ""


def test_the_backoff_after_internal_faults_of_a_lane_grows_to_30_seconds() -> None:
    assert [fault_backoff(faults) for faults in (1, 2, 3, 4, 5, 6, 10_000)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


# --- the process


class Serving:
    """A dispatcher in a thread of its own."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher, self.stop = dispatcher, threading.Event()
        self.thread = threading.Thread(target=dispatcher.serve, args=(self.stop,))

    def __enter__(self) -> Dispatcher:
        self.thread.start()
        return self.dispatcher

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_a_lane_with_an_internal_fault_resumes_later_and_the_others_are_not_delayed(
    server: Server, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_module, "fault_backoff", lambda faults: 0.01)
    ids = publish(state, 1, 2)
    bad, good = (
        Subscription(name="bad", transport="kombu", queue="bad"),
        Subscription(name="good", transport="kombu", queue="good"),
    )
    dispatcher = Dispatcher(services(server, bad, good), silent=1.0)
    receivers = {}
    for each in dispatcher.lanes:
        receivers[each.subscription.name] = each.transport = Receiver()
    broken = next(each for each in dispatcher.lanes if each.subscription.name == "bad")
    step, failures = broken.step, []

    def failing(*args: Any, **options: Any) -> float:
        if len(failures) < 5:
            failures.append(1)
            raise ZeroDivisionError
        return step(*args, **options)

    monkeypatch.setattr(broken, "step", failing)
    deliveries = Deliveries(state)
    with capture_logs() as logs, Serving(dispatcher):
        until(lambda: receivers["good"].ids == ids)
        until(lambda: receivers["bad"].ids == ids)
        until(lambda: deliveries.state("bad", now=1.0).unexpected == 5)
    told = [line for line in logs if line["event"] == "dispatch_lane_failed"]
    assert [(line["times"], line["exc_info"] is not None) for line in told] == [(n, n == 1) for n in range(1, 6)]


def test_a_transport_that_cannot_be_created_is_tried_again_and_the_others_are_served(
    server: Server, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = publish(state, 1, 2)
    bad = Subscription(name="bad", transport="kombu", queue="bad")
    good = Subscription(name="good", transport="kombu", queue="good")
    mended = threading.Event()
    made = transports.transport_for
    late = Receiver()

    def make_transport(subscription: Subscription, broker_url: str) -> Any:
        if subscription.name == "good":
            return made(subscription, broker_url)
        if not mended.is_set():
            raise ConfigError("subscriptions.bad.broker: no such transport")
        return late

    monkeypatch.setattr(transports, "transport_for", make_transport)
    deliveries = Deliveries(state)
    with Serving(Dispatcher(services(server, bad, good), silent=1.0)):
        until(lambda: deliveries.state("good", now=1.0).delivered == 2)
        until(lambda: "no such transport" in deliveries.state("bad", now=1.0).blocked_by)
        mended.set()
        until(lambda: deliveries.state("bad", now=1.0).delivered == 2)
        assert sorted(late.ids) == sorted(ids)
    assert deliveries.state("bad", now=1.0).blocked_by == ""
    assert deliveries.state("bad", now=1.0).failed == 0


def test_an_awaited_receipt_is_dropped_when_the_send_raises(state: redis.Redis) -> None:
    publish(state, 1)
    receiver = Raising()
    receiver.error = KeyError("x")
    subscription = Subscription(
        name=NAME, transport="kombu", queue="q", retry=SHORT.retry, receipts=Receipts(required=True, within=60.0)
    )
    run_until_idle(lane(state, receiver, subscription=subscription), 1000.0)
    (delivery,) = scheduled(state, NAME)
    assert (delivery.tries, delivery.awaiting_receipt, delivery.reason) == (1, False, "unexpected_error")
    assert json.loads(receiver.got[0].body)["id"] == event(1)["id"]
