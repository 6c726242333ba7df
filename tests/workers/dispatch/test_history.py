"""What dispatch leaves behind of each delivery: its tries while it is under way, and a compact record once it ended."""

from __future__ import annotations

import pytest
import redis

from bridge.config.model import Filter, Receipts, RetryPolicy, Subscription
from bridge.config.model import Retention as RetentionConfig
from bridge.delivery.history import History
from bridge.delivery.orphans import forget
from bridge.delivery.record import Delivery
from bridge.delivery.retention import DeliveryRetention
from bridge.delivery.store import BEING_SENT, DONE, UNKNOWN, Deliveries
from bridge.errors import DeliveryFailed
from bridge.state import counts, keys
from tests.support.dispatch import (
    Receiver,
    WindowReceiver,
    lane,
    publish,
    refuse,
    replay_all,
    replay_one,
    run_until_idle,
    scheduled,
)
from workers.transports.contract import Outgoing

NAME = "crm"
STEADY = RetryPolicy(schedule=(5.0,) * 30, jitter=0.0)
CRM = Subscription(name=NAME, transport="http", retry=STEADY)
RECEIPTS = Subscription(name=NAME, transport="celery", retry=STEADY, receipts=Receipts(required=True, within=60.0))


def buckets(state: redis.Redis) -> int:
    """The number of deliveries in the index by event id."""
    names = state.scan_iter(f"{keys.settled(NAME)}:ids:*")
    return sum(state.hlen(name) for name in names)


def test_a_delivery_that_succeeds_at_once_is_found_by_its_event_with_time_status_and_answer(
    state: redis.Redis,
) -> None:
    ids = publish(state, *range(3))
    run_until_idle(lane(state, Receiver(status=202, body=b"thanks " * 40), subscription=CRM), 1000.0)
    history = History(state)
    for number, event_id in enumerate(ids):
        settled = history.settled(NAME, event_id)
        assert settled is not None
        assert (settled.id, settled.source, settled.attempt) == (event_id, "eu-classmarker", f"a{number}")
        assert (settled.outcome, settled.type, settled.count) == ("delivered", "attempt.completed", 1)
        (only,) = settled.tries
        assert (only.status, only.seconds, only.answer) == (202, 0.25, ("thanks " * 19)[:128])
    assert history.settled(NAME, "0f0f0f0f-0000-5000-8000-000000000000") is None


def test_every_try_is_kept_until_the_delivery_succeeds_and_then_with_it(state: redis.Redis) -> None:
    (only,) = publish(state, 1)
    receiver = Receiver(refuse, status=500, body=b"\x00broken")
    crm_lane = lane(state, receiver, subscription=CRM)
    for number in range(3):
        run_until_idle(crm_lane, 1000.0 + 5 * number)
    group, tries = History(state).tries(NAME, 0, only)
    assert len(group) == 12
    assert [(each.at, each.status, each.reason) for each in tries] == [
        (1000.0 + 5 * number, 500, "receiver_error") for number in range(3)
    ]
    assert {(each.seconds, each.error, each.answer) for each in tries} == {(0.25, "receiver answered 500", "broken")}
    receiver.answer, receiver.status = (lambda sent: None), 200
    run_until_idle(crm_lane, 1015.0)
    settled = History(state).settled(NAME, only)
    assert settled is not None
    assert [each.status for each in settled.tries] == [500, 500, 500, 200]
    assert settled.count == 4
    assert state.hlen(keys.tries(NAME)) == 0


def test_many_tries_with_long_answers_stay_short_and_keep_the_first_and_the_last_ones(state: redis.Redis) -> None:
    (only,) = publish(state, 1)
    receiver = Receiver(refuse, status=500, body=b"x" * 1024)
    crm_lane = lane(state, receiver, subscription=CRM)
    for number in range(26):
        run_until_idle(crm_lane, 1000.0 + 5 * number)
    _, tries = History(state).tries(NAME, 0, only)
    assert len(tries) == 20
    assert [each.at for each in tries[:2]] == [1000.0, 1035.0]
    assert tries[-1].at == 1125.0
    assert len(tries[-1].answer) == 1024
    assert tries[0].answer == ""
    stored = state.hget(keys.tries(NAME), only)
    assert stored is not None
    assert len(stored) <= 3072 + 12


def test_a_dead_letter_has_its_tries_its_group_and_is_found_by_its_event(state: redis.Redis) -> None:
    (only,) = publish(state, 1)
    short = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(5.0,), jitter=0.0))
    crm_lane = lane(state, Receiver(refuse, status=500, body=b"no"), subscription=short)
    for moment in (1000.0, 1005.0):
        run_until_idle(crm_lane, moment)
    history, deliveries = History(state), Deliveries(state)
    letter = history.dead_letter(NAME, only)
    assert letter is not None
    assert letter == deliveries.dead_letter(NAME, letter.id)
    assert [(each.at, each.answer) for each in letter.tries] == [(1000.0, "no"), (1005.0, "no")]
    assert len(letter.group) == 12
    assert history.settled(NAME, only) is None
    # A replay goes on with the same history.
    assert replay_one(deliveries, NAME, letter, now=2000.0)
    assert history.dead_letter(NAME, only) is None
    assert [each.at for each in history.tries(NAME, 0, only)[1]] == [1000.0, 1005.0]
    assert state.zcard(keys.letter_index(NAME)) == 0


def test_a_receipt_ends_a_delivery_as_confirmed_with_its_tries(state: redis.Redis) -> None:
    (only,) = publish(state, 1)
    run_until_idle(lane(state, Receiver(), subscription=RECEIPTS), 1000.0)
    assert Deliveries(state).record_receipt(NAME, only, now=1001.0)
    settled = History(state).settled(NAME, only)
    assert settled is not None
    assert (settled.outcome, settled.count, [each.at for each in settled.tries]) == ("confirmed", 1, [1000.0])


def test_a_cancelled_delivery_is_never_sent_again_and_leaves_no_dead_letter(state: redis.Redis) -> None:
    only, other = publish(state, 1, 2)
    receiver, deliveries = Receiver(refuse), Deliveries(state)
    crm_lane = lane(state, receiver, subscription=CRM)
    run_until_idle(crm_lane, 1000.0)
    assert deliveries.cancel(NAME, only, now=1001.0) == DONE
    assert deliveries.cancel(NAME, only, now=1001.0) == UNKNOWN
    run_until_idle(crm_lane, 1005.0)
    assert receiver.ids == [only, other, other]
    assert list(deliveries.dead_letters(NAME)) == []
    settled = History(state).settled(NAME, only)
    assert settled is not None
    assert (settled.outcome, len(settled.tries)) == ("cancelled", 1)
    assert state.hget(keys.subscription_state(NAME), "cancelled") == b"1"


def test_a_retry_can_be_made_now(state: redis.Redis) -> None:
    (only,) = publish(state, 1)
    receiver, deliveries = Receiver(refuse), Deliveries(state)
    crm_lane = lane(state, receiver, subscription=CRM)
    run_until_idle(crm_lane, 1000.0)
    run_until_idle(crm_lane, 1001.0)
    assert len(receiver.got) == 1
    assert deliveries.retry_one(NAME, only, now=1001.0) == DONE
    run_until_idle(crm_lane, 1001.0)
    assert len(receiver.got) == 2
    assert deliveries.retry_one(NAME, "unheard-of", now=1001.0) == UNKNOWN


def test_what_is_being_sent_is_neither_retried_nor_cancelled(state: redis.Redis) -> None:
    (only,) = publish(state, 1)
    deliveries, said = Deliveries(state), []

    def answer(sent: Outgoing) -> DeliveryFailed:
        if len(receiver.got) > 1:
            said.append(deliveries.retry_one(NAME, sent.id, now=1005.0))
            said.append(deliveries.cancel(NAME, sent.id, now=1005.0))
        return DeliveryFailed("receiver answered 500", reason="receiver_error")

    receiver = Receiver(answer)
    crm_lane = lane(state, receiver, subscription=CRM)
    for moment in (1000.0, 1005.0):
        run_until_idle(crm_lane, moment)
    assert said == [BEING_SENT, BEING_SENT]
    assert [each.id for each in scheduled(state, NAME)] == [only]


@pytest.mark.long
def test_settled_deliveries_are_deleted_when_they_are_old_and_their_index_with_them(state: redis.Redis) -> None:
    ids = publish(state, *range(300))
    run_until_idle(lane(state, Receiver(batch=100), subscription=CRM), 1000.0)
    history, stream = History(state), keys.settled(NAME)
    assert (state.xlen(stream), buckets(state)) == (300, 300)
    assert all(history.settled(NAME, event_id) for event_id in ids)
    entries = [entry for entry, _ in state.xrange(stream)]
    middle = int(entries[-1].partition(b"-")[0]) / 1000
    retention = RetentionConfig(deliveries=100.0)
    report = DeliveryRetention(Deliveries(state)).run(retention, [NAME], now=middle + 99.0)
    assert report.deliveries < 300
    report = DeliveryRetention(Deliveries(state)).run(retention, [NAME], now=middle + 101.0)
    assert (state.xlen(stream), buckets(state)) == (0, 0)
    assert history.settled(NAME, ids[0]) is None


def test_a_record_of_a_later_version_is_sent_and_one_that_is_not_whole_is_given_up(state: redis.Redis) -> None:
    (only,) = publish(state, 1)
    crm_lane = lane(state, receiver := Receiver(refuse), subscription=CRM)
    run_until_idle(crm_lane, 1000.0)
    (delivery,) = scheduled(state, NAME)
    state.hset(keys.deliveries(NAME), only, delivery.to_json()[:-1] + ',"colour":"blue"}')
    assert Delivery.from_json(state.hget(keys.deliveries(NAME), only) or b"") == delivery
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 1005.0)
    assert receiver.ids == [only, only]
    with pytest.raises(ValueError, match="missing"):
        Delivery.from_json('{"id":"x"}')


def test_what_becomes_of_deliveries_is_counted_per_minute_hour_and_day(state: redis.Redis) -> None:
    good, *_ = publish(state, 1, 2, 3)
    publish(state, 4, source="us-mettl")
    receiver = Receiver(lambda sent: None if sent.id == good else refuse(sent))
    filtered = Subscription(name=NAME, transport="http", retry=STEADY, filter=Filter(sources=("eu-*",)))
    run_until_idle(lane(state, receiver, subscription=filtered), 1_800_000_000.0)
    expected = {b"crm|delivered": b"1", b"crm|failed": b"2", b"crm|skipped": b"1"}
    for name in counts.names(keys.delivery_counts, 0, 1_800_000_000.0):
        counted = state.hgetall(name)
        assert {field: number for field, number in counted.items() if b"lag" not in field} == expected
        assert state.ttl(name) > 86_400


@pytest.mark.parametrize("kind", [Receiver, WindowReceiver])
@pytest.mark.parametrize("subscription", [CRM, RECEIPTS], ids=["delivered", "handed over"])
def test_the_lag_of_each_delivery_is_counted_once_and_that_of_a_replay_never(
    state: redis.Redis, kind: type[Receiver], subscription: Subscription
) -> None:
    recorded = 1_800_000_000.0
    publish(state, 1, 2, 3, recorded=recorded)
    first = [True, True]
    receiver = kind(lambda sent: refuse(sent) if sent.attempt == "a1" and first and first.pop() else None)
    crm_lane = lane(state, receiver, subscription=subscription)
    run_until_idle(crm_lane, recorded + 0.15)
    assert lags(state, recorded) == {"lag_0.2": 2}
    run_until_idle(crm_lane, recorded + 5.2)
    run_until_idle(crm_lane, recorded + 10.25)
    assert lags(state, recorded) == {"lag_0.2": 2, "lag_30": 1}

    publish(state, 4, recorded=recorded + 20)
    receiver.answer = lambda _: DeliveryFailed("receiver answered 410", reason="receiver_error", permanent=True)
    run_until_idle(crm_lane, recorded + 20)
    receiver.answer = lambda _: None
    assert replay_all(Deliveries(state), NAME, now=recorded + 21) == 1
    run_until_idle(crm_lane, recorded + 21)
    assert len(receiver.got) == 7
    assert lags(state, recorded) == {"lag_0.2": 2, "lag_30": 1}


def lags(state: redis.Redis, moment: float) -> dict[str, int]:
    """The counts of lags on the day of this moment."""
    counted = state.hgetall(counts.names(keys.delivery_counts, 0, moment)[-1])
    by_name = {field.decode().partition("|")[2]: int(number) for field, number in counted.items()}
    return {name: number for name, number in by_name.items() if name.startswith("lag")}


def test_nothing_is_left_of_a_subscription_that_is_forgotten(state: redis.Redis) -> None:
    publish(state, *range(5))
    run_until_idle(lane(state, Receiver(), subscription=CRM), 1000.0)
    publish(state, *range(5, 8))
    never = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=()))
    run_until_idle(lane(state, Receiver(refuse), subscription=never), 1000.0)
    publish(state, 9)
    run_until_idle(lane(state, Receiver(refuse), subscription=CRM), 1000.0)
    state.hset(keys.subscription_alarm(NAME), "record", "{}")
    forget(state, NAME, partitions=1)
    left = [name for name in state.scan_iter("*") if NAME.encode() in name]
    assert left == []
