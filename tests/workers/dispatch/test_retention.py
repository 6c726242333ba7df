"""Retention beside delivery: whatever waits for a retry or a receipt is still sent, however old its event is."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from bridge.config.model import BridgeConfig, Receipts, RetryPolicy, Subscription
from bridge.config.model import Retention as RetentionConfig
from bridge.delivery.status import held_events
from bridge.delivery.store import Deliveries
from bridge.journal.retention import Retention
from bridge.state import keys
from tests.support.dispatch import Receiver, at, even, event, lane, publish, refuse, run_until_idle, scheduled
from workers.transports.contract import Outcome, Outgoing

NAME = "crm"
CRM = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(5.0, 300.0)))
#: Everything that is not needed is deleted.
BRIDGE = BridgeConfig(name="b", public_url="http://b", retention=RetentionConfig(events=1.0))


def trim(state: redis.Redis, *names: str) -> int:
    """The number of events deleted. The last one that was read is always kept."""
    return Retention(state).run(BRIDGE, now=9e9, subscriptions=names or (NAME,)).events


def test_an_event_that_waits_for_a_retry_outlives_the_journal(state: redis.Redis) -> None:
    ids = publish(state, *range(3))
    receiver = Receiver(refuse)
    crm_lane = lane(state, receiver, subscription=CRM)
    run_until_idle(crm_lane, 1000.0)
    assert trim(state) == 2
    # It fails once more, is trimmed again, and is delivered by the last try.
    run_until_idle(crm_lane, 1005.0)
    assert trim(state) == 0
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 1305.0)
    assert sorted(receiver.ids) == sorted(ids * 3)
    assert event(2) in [json.loads(sent.body) for sent in receiver.got[-3:]]
    assert state.hlen(keys.deliveries(NAME)) == 0


def test_an_event_that_waits_for_a_receipt_outlives_the_journal(state: redis.Redis) -> None:
    ids = publish(state, 1, 2)
    subscription = Subscription(
        name=NAME, transport="celery", retry=CRM.retry, receipts=Receipts(required=True, within=60.0)
    )
    receiver = Receiver()
    crm_lane = lane(state, receiver, subscription=subscription)
    run_until_idle(crm_lane, 1000.0)
    assert trim(state) == 1
    run_until_idle(crm_lane, 1060.0)
    assert sorted(receiver.ids) == sorted(ids * 2)


def test_an_event_that_is_being_sent_stays_in_the_journal_until_its_try_is_settled(state: redis.Redis) -> None:
    ids = publish(state, *range(2))
    trimmed: list[int] = []

    def answer(sent: Outgoing) -> Outcome:
        trimmed.append(trim(state))
        return refuse(sent)

    receiver = Receiver(refuse)
    crm_lane = lane(state, receiver, subscription=CRM)
    run_until_idle(crm_lane, 1000.0)
    receiver.answer = answer
    run_until_idle(crm_lane, 1005.0)
    assert trimmed == [0, 0]
    assert trim(state) == 1
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 1305.0)
    assert sorted(receiver.ids) == sorted(ids * 3)


def test_a_delivery_that_changes_while_it_is_copied_is_read_again(
    state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = publish(state, 1, 2)
    receiver = Receiver(refuse)
    crm_lane = lane(state, receiver, subscription=CRM)
    run_until_idle(crm_lane, 1000.0)
    original, moments = type(state).hscan_iter, iter([1005.0])

    def meanwhile(self: redis.Redis, *args: Any, **options: Any) -> Any:
        result = list(original(self, *args, **options))
        for moment in moments:
            run_until_idle(crm_lane, moment)
        return iter(result)

    monkeypatch.setattr(type(state), "hscan_iter", meanwhile)
    assert trim(state) == 1
    assert [each.tries for each in scheduled(state, NAME)] == [2, 2]
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 1305.0)
    assert sorted(receiver.ids) == sorted(ids * 3)


def test_records_that_cannot_be_read_stop_no_trimming(state: redis.Redis) -> None:
    publish(state, 1, 2)
    run_until_idle(lane(state, Receiver(), subscription=CRM), 1000.0)
    for number, record in enumerate([b"\xff", b"[]", b"{}", b'{"entry": 5}', b'{"entry": "x"}', b"[" * 5000]):
        state.hset(keys.deliveries(NAME), f"odd{number}", record)
    assert trim(state) == 1


@pytest.mark.long
def test_many_waiting_events_are_copied_page_by_page(state: redis.Redis) -> None:
    ids = publish(state, *range(450))
    receiver = Receiver(refuse, batch=450)
    crm_lane = lane(state, receiver, subscription=CRM)
    crm_lane.step(at(1000.0), even)
    assert trim(state, NAME, "removed") == 0  # a subscription that has not begun needs everything
    assert trim(state) == 449
    assert sum(each.event is not None for each in scheduled(state, NAME)) == 449
    assert Deliveries(state).state(NAME, now=1000.0).retrying == len(ids)


@pytest.mark.parametrize("mark", ["paused", "disabled"])
def test_a_stopped_subscription_keeps_its_events_for_their_retention_and_what_is_deleted_is_counted(
    state: redis.Redis, mark: str
) -> None:
    ids = publish(state, *range(5))
    receiver = Receiver(batch=1)
    crm_lane = lane(state, receiver, subscription=CRM)
    crm_lane.step(at(1000.0), even)
    state.xreadgroup(keys.group(NAME), "one", {keys.journal(0): ">"}, count=1)
    # Served and late, it holds the journal back, however old its events are.
    assert trim(state) == 1
    state.hset(keys.subscription_state(NAME), mark, 1)
    deliveries = Deliveries(state)
    status = deliveries.state(NAME, now=1000.0)
    oldest = int(state.xrange(keys.journal(0), count=1)[0][0].partition(b"-")[0]) / 1000
    held = held_events(state, NAME, status, partitions=1, kept=60.0)
    assert (held.oldest_at, held.deleted_from) == (oldest, oldest + 60.0)
    kept = BridgeConfig(name="b", public_url="http://b", retention=RetentionConfig(events=1000.0))
    assert Retention(state).run(kept, now=oldest + 999.0, subscriptions=[NAME]).unsent == {}
    report = Retention(state).run(BRIDGE, now=9e9, subscriptions=[NAME])
    assert (report.events, report.unsent, report.held_back) == (4, {NAME: 4}, ())
    assert deliveries.state(NAME, now=1000.0).unsent == 4
    deliveries.resume(NAME)
    later = publish(state, 7)
    run_until_idle(lane(state, receiver, subscription=CRM), 1000.0)
    assert receiver.ids == [ids[0], *later]
