"""Lanes that read ahead: what the next batch may do while one is being sent, and what a fault of either leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.errors import DeliveryFailed, StateUnavailable
from bridge.state import keys
from tests.support.dispatch import Receiver, at, even, lane, publish, refuse, run_until_idle
from workers.dispatch.ahead_lane import AheadLane
from workers.dispatch.schedule import Limits
from workers.transports.contract import Outcome, Outgoing, Try

NAME = "crm"
AGAIN = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(5.0,) * 9))


class Killed(BaseException):
    """The process ends here."""


class Slow(Receiver):
    """Its batches end when `release` is set."""

    def __init__(self, answer: Callable[[Outgoing], Outcome] | None = None) -> None:
        super().__init__(answer, batch=3)
        self.release = threading.Event()

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        assert self.release.wait(10)
        return super().send(events, now=now)


def ahead(state: redis.Redis, receiver: Receiver, **options: Any) -> AheadLane:
    made = lane(state, receiver, kind=AheadLane, subscription=options.pop("subscription", AGAIN), **options)
    assert isinstance(made, AheadLane)
    return made


def pending(state: redis.Redis) -> int:
    return int(state.xpending(keys.journal(0), keys.group(NAME))["pending"])


def test_the_next_batch_is_read_while_one_is_being_sent_and_each_event_is_sent_once_in_order(
    state: redis.Redis,
) -> None:
    ids = publish(state, *range(8))
    receiver = Slow()
    held: list[int] = []
    crm_lane = ahead(state, receiver, crash=lambda point: held.append(pending(state)))
    assert crm_lane.step(at(1.0), even) == 0.0
    assert (receiver.got, pending(state)) == ([], 3)
    threading.Timer(0.2, receiver.release.set).start()
    crm_lane.step(at(1.0), even)
    run_until_idle(crm_lane, 1.0)
    assert receiver.ids == ids
    assert receiver.batches == [3, 3, 2]
    assert max(held) == 6
    assert pending(state) == 0
    assert Deliveries(state).states([NAME], now=9.0)[NAME].delivered == 8


def test_what_was_read_ahead_of_a_failure_is_given_back_and_sent_by_the_rules_of_the_circuit(
    state: redis.Redis,
) -> None:
    ids = publish(state, *range(9))
    receiver = Receiver(refuse, batch=3)
    crm_lane = ahead(state, receiver, limits=Limits(open_after=3, poison_after=1))
    run_until_idle(crm_lane, 1.0)
    assert receiver.ids == ids[:3]
    rows: Any = state.xpending_range(keys.journal(0), keys.group(NAME), min="-", max="+", count=9)
    assert [row["times_delivered"] for row in rows] == [0, 0, 0]
    receiver.answer = lambda sent: None
    for moment in (100.0, 101.0, 102.0):
        run_until_idle(crm_lane, moment)
    assert sorted(receiver.ids[3:]) == sorted(ids)
    assert pending(state) == 0
    assert list(Deliveries(state).dead_letters(NAME)) == []


def test_a_broker_that_is_down_is_waited_for_and_nothing_is_charged(state: redis.Redis) -> None:
    ids = publish(state, *range(9))
    down: list[Outcome] = [DeliveryFailed("broker down", reason="broker_unavailable", charged=False)]
    receiver = Receiver(lambda sent: down[0], batch=3)
    crm_lane = ahead(state, receiver)
    run_until_idle(crm_lane, 1.0)
    assert (len(receiver.got), pending(state), state.zcard(keys.retry(NAME))) == (3, 6, 0)
    down[0] = None
    run_until_idle(crm_lane, 5.0)
    assert sorted(receiver.ids[3:]) == sorted(ids)
    assert pending(state) == 0


@pytest.mark.parametrize("number", range(12))
def test_a_process_killed_at_any_point_loses_nothing(state: redis.Redis, number: int) -> None:
    ids = publish(state, *range(10))
    points: list[str] = []

    def crash(point: str) -> None:
        points.append(point)
        if len(points) == number + 1:
            raise Killed

    receiver = Receiver(batch=3)
    with pytest.raises(Killed):
        run_until_idle(ahead(state, receiver, crash=crash), 1000.0)
    heir = ahead(state, receiver, consumer="two")
    heir.step(at(1001.0), even)
    heir.adopt(lambda consumer: consumer == "two")
    run_until_idle(heir, 1002.0)
    assert set(receiver.ids) == set(ids)
    assert len(receiver.ids) <= len(ids) + 2 * receiver.batch
    assert pending(state) == 0
    assert list(Deliveries(state).dead_letters(NAME)) == []


def test_a_pause_is_complete_when_nothing_is_under_way(state: redis.Redis) -> None:
    publish(state, *range(9))
    deliveries, receiver = Deliveries(state), Slow()
    state.set(keys.heartbeat("dispatch:one"), 1)
    crm_lane = ahead(state, receiver)
    crm_lane.step(at(1.0), even)
    deliveries.pause(NAME)
    sending: list[int] = []
    receiver.answer = lambda sent: sending.append(deliveries.sending(NAME))
    receiver.release.set()
    crm_lane.step(at(1.0), even)
    assert len(receiver.got) == 3
    crm_lane.step(at(1.0), even)
    assert deliveries.sending(NAME) == 0
    assert (set(sending), len(receiver.got)) == ({1}, 3)


def test_due_retries_get_their_turn_while_new_events_keep_coming(state: redis.Redis) -> None:
    (first,) = publish(state, 0)
    receiver = Receiver(lambda sent: refuse(sent) if sent.id == first and len(receiver.got) == 1 else None, batch=3)
    crm_lane = ahead(state, receiver)
    run_until_idle(crm_lane, 1.0)
    for step in range(100):
        publish(state, *range(10 + 6 * step, 16 + 6 * step))
        crm_lane.step(at(3.0 + step / 10), even)
        if receiver.ids.count(first) == 2:
            break
    assert receiver.ids.count(first) == 2


def test_a_lane_that_stops_settles_what_has_ended_and_leaves_the_rest_pending(state: redis.Redis) -> None:
    ids = publish(state, *range(6))
    receiver = Slow()
    crm_lane = ahead(state, receiver)
    crm_lane.step(at(1.0), even)
    crm_lane.finish(at(1.0), even, within=0.01)
    assert pending(state) == 3
    receiver.release.set()
    other = ahead(state, Receiver(batch=3), consumer="two")
    other.step(at(2.0), even)
    other.finish(at(2.0), even, within=5.0)
    assert pending(state) == 3
    other.adopt(lambda consumer: consumer == "two")
    run_until_idle(other, 3.0)
    assert other.transport.ids[-3:] == ids[:3]  # type: ignore[attr-defined]
    assert pending(state) == 0


def test_a_fault_of_the_state_while_a_batch_is_under_way_loses_nothing(
    state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = publish(state, *range(9))
    receiver = Receiver(batch=3)
    crm_lane = ahead(state, receiver)
    crm_lane.step(at(1.0), even)
    for name in ("next_batch", "read_entries"):
        place: Any = crm_lane._reader if name == "next_batch" else crm_lane._guarded

        def fail(*_: Any, **__: Any) -> Any:
            raise redis.ConnectionError("lost")

        with monkeypatch.context() as patched:
            patched.setattr(place, name, fail)
            with pytest.raises(StateUnavailable):
                run_until_idle(crm_lane, 1.0)
        crm_lane.recover()
    run_until_idle(crm_lane, 2.0)
    assert set(receiver.ids) == set(ids)
    assert pending(state) == 0


def test_an_error_while_a_batch_is_concluded_is_charged_to_that_batch(
    state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = publish(state, *range(6))
    receiver = Receiver(batch=3)
    crm_lane = ahead(state, receiver)
    with monkeypatch.context() as patched:
        patched.setattr("workers.dispatch.lane.outcome_row", lambda *_: 1 / 0)
        crm_lane.step(at(1.0), even)
        crm_lane.step(at(1.0), even)
    run_until_idle(crm_lane, 2.0)
    assert state.zcard(keys.retry(NAME)) == 3
    run_until_idle(crm_lane, 10.0)
    assert sorted(receiver.ids[6:]) == sorted(ids[:3])
    assert pending(state) == 0
