"""After `subscriptions resume` what waits for a retry goes at once, and nothing else is sent again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import redis

from bridge.config.model import Receipts, RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.state import keys
from tests.support.dispatch import Receiver, at, even, lane, publish, refuse, run_until_idle, scheduled
from tests.support.servers import Server
from workers.dispatch.schedule import Limits

NAME = "crm"
PATIENT = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(7200.0, 7200.0), jitter=0.0))


def test_waiting_retries_are_sent_at_once(state: redis.Redis) -> None:
    ids = publish(state, *range(3))
    receiver, deliveries = Receiver(refuse), Deliveries(state)
    crm_lane = lane(state, receiver, subscription=PATIENT)
    run_until_idle(crm_lane, 1000.0)
    receiver.answer = lambda sent: None
    deliveries.resume(NAME)
    run_until_idle(crm_lane, 1010.0)
    assert len(receiver.got) == 3
    assert deliveries.retry_now(NAME, now=1010.0) == 3
    assert deliveries.retry_now(NAME, now=1010.0) == 0
    run_until_idle(crm_lane, 1010.0)
    assert sorted(receiver.ids[3:]) == sorted(ids)
    assert scheduled(state, NAME) == []


def test_a_receiver_that_still_fails_gets_no_more_than_a_batch_before_the_circuit_opens(
    state: redis.Redis,
) -> None:
    publish(state, *range(100))
    receiver, deliveries = Receiver(refuse, batch=4), Deliveries(state)
    crm_lane = lane(state, receiver, subscription=PATIENT, limits=Limits(open_after=1000))
    run_until_idle(crm_lane, 1000.0)
    assert len(receiver.got) == 100
    deliveries.resume(NAME)
    assert deliveries.retry_now(NAME, now=1010.0) == 100
    strict = lane(state, receiver, subscription=PATIENT, limits=Limits(open_after=4, open_after_recent_answer=4))
    run_until_idle(strict, 1010.0)
    assert len(receiver.got) == 104
    assert deliveries.state(NAME, now=1010.0).circuit == "open"
    assert sorted({delivery.tries for delivery in scheduled(state, NAME)}) == [1, 2]


def test_what_is_being_sent_or_waits_for_its_receipt_is_not_sent_again(state: redis.Redis) -> None:
    (sent, _), deliveries = publish(state, 1, 2), Deliveries(state)
    asking = replace(PATIENT, transport="celery", receipts=Receipts(required=True, within=6000.0))
    receiver = Receiver(lambda item: None if item.id == sent else refuse(item))
    crm_lane = lane(state, receiver, subscription=asking)
    run_until_idle(crm_lane, 1000.0)
    # Both wait until later; the receipt of the first is awaited.
    assert deliveries.retry_now(NAME, now=1500.0) == 1
    moved: list[int] = []
    receiver.answer = lambda item: moved.append(deliveries.retry_now(NAME, now=1600.0))
    crm_lane.step(at(1600.0), even)
    assert moved == [0]
    assert receiver.ids.count(sent) == 1


def fill(state: redis.Redis, count: int) -> None:
    """Retries that wait, and a receipt in ten."""
    record = {"id": "x", "type": "t", "source": "s", "attempt": "a", "entry": "1-1"}
    texts = [json.dumps({**record, "awaiting_receipt": receipt}) for receipt in (True, *[False] * 9)]
    for start in range(0, count, 5000):
        numbers = range(start, start + 5000)
        state.zadd(keys.retry(NAME), {f"e{number}": 5000.0 + number for number in numbers})
        state.hset(keys.deliveries(NAME), mapping={f"e{number}": texts[number % 10] for number in numbers})


@pytest.mark.parametrize("count", [5000, pytest.param(100_000, marks=pytest.mark.long)])
def test_many_are_moved_by_a_number_of_calls_in_proportion(server: Server, state: redis.Redis, count: int) -> None:
    fill(state, count)
    state.config_resetstat()
    assert Deliveries(state).retry_now(NAME, now=10.0) == count * 9 // 10
    assert state.zcount(keys.retry(NAME), "-inf", 10.0) == count * 9 // 10
    commands = state.info("commandstats")
    for name in ("cmdstat_zscan", "cmdstat_evalsha"):
        assert commands[name]["calls"] <= count / 100, name
    # One look at each, however many there are.
    assert commands["cmdstat_zscore"]["calls"] <= count * 1.1
