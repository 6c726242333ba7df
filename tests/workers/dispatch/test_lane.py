"""A lane over a fake and a real server: what is sent, scheduled, given up, and what happens when processes die."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from bridge.config.model import Filter, Receipts, RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.errors import DeliveryFailed, StateUnavailable
from bridge.state import keys
from tests.support.dispatch import (
    Receiver,
    at,
    even,
    event,
    lane,
    publish,
    refuse,
    replay_all,
    replay_one,
    run_until_idle,
    scheduled,
)
from workers.dispatch.lane import CRASH_POINTS
from workers.dispatch.schedule import Limits
from workers.transports.contract import Outcome, Outgoing

pytestmark = pytest.mark.cluster_too

NAME = "crm"
SHORT = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(5.0, 300.0), jitter=0.2))


class Killed(BaseException):
    """Stands for the end of the process: nothing in the lane may catch it."""


def pending(state: redis.Redis) -> int:
    return state.xpending(keys.journal(0), keys.group(NAME))["pending"]


def waiting(state: redis.Redis) -> list[tuple[str, float]]:
    result: Any = state.zrange(keys.retry(NAME), 0, -1, withscores=True)
    return [(name.decode(), due) for name, due in result]


def test_everything_in_the_journal_is_sent_once_and_nothing_stays_pending(state: redis.Redis) -> None:
    ids = publish(state, *range(20))
    receiver = Receiver()
    run_until_idle(lane(state, receiver), 1000.0)
    assert receiver.ids == ids
    assert pending(state) == 0
    status = Deliveries(state).state(NAME, now=1000.0)
    assert (status.delivered, status.failed, status.retrying, status.circuit) == (20, 0, 0, "closed")


def test_an_event_that_the_filter_excludes_is_acknowledged_and_not_sent(state: redis.Redis) -> None:
    publish(state, 1, source="us-mettl")
    wanted = publish(state, 2)
    publish(state, 3, passed=False)
    receiver = Receiver()
    subscription = Subscription(name=NAME, transport="http", filter=Filter(sources=("eu-*",), when={"passed": True}))
    run_until_idle(lane(state, receiver, subscription=subscription), 1000.0)
    assert receiver.ids == wanted
    assert pending(state) == 0
    assert Deliveries(state).state(NAME, now=1.0).skipped == 2


def test_a_failing_event_blocks_no_other_and_is_retried_when_due(state: redis.Redis) -> None:
    bad, *good = publish(state, 1, 2, 3)
    receiver = Receiver(lambda item: refuse(item) if item.id == bad else None)
    crm_lane = lane(state, receiver, subscription=SHORT)
    run_until_idle(crm_lane, 1000.0)
    assert receiver.ids == [bad, *good]
    assert waiting(state) == [(bad, 1005.0)]
    run_until_idle(crm_lane, 1004.9)
    assert receiver.ids.count(bad) == 1
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 1005.0)
    assert receiver.ids.count(bad) == 2
    assert waiting(state) == []
    assert state.hlen(keys.deliveries(NAME)) == 0
    assert state.hlen(keys.claims(NAME)) == 0


def test_a_delivery_without_tries_left_becomes_a_dead_letter_with_event_and_history(state: redis.Redis) -> None:
    (bad,) = publish(state, 1)
    receiver = Receiver(refuse)
    crm_lane = lane(state, receiver, subscription=SHORT)
    for moment in (1000.0, 1005.0, 1305.0, 99_999.0):
        run_until_idle(crm_lane, moment)
    assert receiver.ids == [bad] * 3
    (letter,) = Deliveries(state).dead_letters(NAME)
    assert letter.reason == "receiver_error"
    assert json.loads(letter.event) == event(1)
    assert (letter.delivery.tries, letter.delivery.first_at, letter.delivery.last_at) == (3, 1000.0, 1305.0)
    assert letter.delivery.error == "receiver answered 500"
    assert waiting(state) == []
    assert pending(state) == 0


def test_a_replay_sends_the_same_event_with_all_tries_and_repeating_it_does_nothing(state: redis.Redis) -> None:
    (bad,) = publish(state, 1)
    permanent = DeliveryFailed("no", reason="refused", permanent=True)
    receiver = Receiver(lambda sent: permanent)
    crm_lane = lane(state, receiver, subscription=SHORT)
    run_until_idle(crm_lane, 1000.0)
    state.xtrim(keys.journal(0), maxlen=0)
    deliveries = Deliveries(state)
    (letter,) = deliveries.dead_letters(NAME)
    assert deliveries.dead_letter(NAME, letter.id) == letter
    assert replay_one(deliveries, NAME, letter, now=2000.0) == 1
    assert replay_one(deliveries, NAME, letter, now=2000.0) == 0
    assert list(deliveries.dead_letters(NAME)) == []
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 2000.0)
    assert receiver.ids == [bad, bad]
    assert receiver.got[0].body == receiver.got[1].body
    assert replay_all(deliveries, NAME, now=2001.0) == 0


def test_a_retry_taken_by_one_process_is_not_taken_by_another(state: redis.Redis) -> None:
    publish(state, 1)
    run_until_idle(lane(state, Receiver(refuse), subscription=SHORT), 1000.0)
    other = Receiver()

    def meanwhile(point: str) -> None:
        if point == "read":
            run_until_idle(lane(state, other, subscription=SHORT, consumer="two"), 1005.0)

    first = Receiver()
    run_until_idle(lane(state, first, subscription=SHORT, crash=meanwhile), 1005.0)
    assert len(first.got) == 1
    assert other.got == []


def test_two_processes_share_the_work_and_send_nothing_twice(state: redis.Redis) -> None:
    ids = publish(state, *range(64))
    receivers = Receiver(batch=5), Receiver(batch=7)
    lanes = [lane(state, receiver, consumer=str(number)) for number, receiver in enumerate(receivers)]
    for _ in range(20):
        for each in lanes:
            each.step(at(1000.0), even)
    assert sorted(receivers[0].ids + receivers[1].ids) == sorted(ids)
    assert all(receiver.got for receiver in receivers)


@pytest.mark.long
@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_process_killed_at_any_point_loses_nothing(state: redis.Redis, point: str) -> None:
    ids = publish(state, *range(12))
    left = [1]
    down = DeliveryFailed("broker down", reason="broker_unavailable", charged=False)
    subscription = Subscription(
        name=NAME,
        transport="celery",
        retry=RetryPolicy(schedule=(5.0,)),
        receipts=Receipts(required=point == "expected", within=60.0),
    )
    effects: list[str] = []

    def answer(sent: Outgoing) -> Outcome:
        if point == "parked" and left:
            return down
        if point == "judged" and left and sent.id == ids[0]:
            return refuse(sent)
        effects.append(sent.id)
        return None

    def crash(here: str) -> None:
        if here == point and left:
            left.clear()
            raise Killed

    receiver = Receiver(answer, batch=5)
    with pytest.raises(Killed):
        run_until_idle(lane(state, receiver, subscription=subscription, crash=crash), 1000.0)
    heir = lane(state, receiver, subscription=subscription, consumer="two")
    heir.step(at(1000.0), even)
    heir.adopt(lambda consumer: False)
    for moment in (1000.0, 1300.0, 1600.0):
        run_until_idle(heir, moment)
    assert left == []
    assert set(effects) == set(ids)
    assert pending(state) == 0
    assert state.hlen(keys.deliveries(NAME)) == 0
    names = [row["name"] for row in state.xinfo_consumers(keys.journal(0), keys.group(NAME))]
    assert names in ([b"two"], ["two"])


def test_entries_of_a_living_process_are_not_adopted(state: redis.Redis) -> None:
    publish(state, 1)
    other = lane(state, Receiver(), consumer="two")
    other.step(at(1.0), even)

    def meanwhile(point: str) -> None:
        if point == "read":
            assert other.adopt(lambda consumer: consumer == "one") == 0

    receiver = Receiver()
    publish(state, 2)
    run_until_idle(lane(state, receiver, crash=meanwhile), 1.0)
    assert len(receiver.got) == 1


def test_a_process_that_counted_as_dead_cannot_schedule_what_another_has_delivered(state: redis.Redis) -> None:
    publish(state, 1)
    heir_got = Receiver()
    heir = lane(state, heir_got, subscription=SHORT, consumer="two")

    def meanwhile(point: str) -> None:
        if point == "sent":
            heir.step(at(1000.0), even)
            heir.adopt(lambda consumer: False)
            run_until_idle(heir, 1000.0)

    run_until_idle(lane(state, Receiver(refuse), subscription=SHORT, crash=meanwhile), 1000.0)
    assert len(heir_got.got) == 1
    assert waiting(state) == []
    assert Deliveries(state).state(NAME, now=1.0).failed == 0


def test_an_event_that_kills_every_process_becomes_a_dead_letter_and_the_others_are_sent(
    state: redis.Redis,
) -> None:
    ids = publish(state, *range(10))
    poison = ids[4]
    effects: set[str] = set()

    def answer(sent: Outgoing) -> Outcome:
        if sent.id == poison:
            raise Killed
        effects.add(sent.id)
        return None

    for life in range(12):
        crm_lane = lane(state, Receiver(answer), consumer=str(life), limits=Limits(poison_after=3))
        try:
            crm_lane.step(at(1000.0), even)
            crm_lane.adopt(lambda consumer: False)
            run_until_idle(crm_lane, 1000.0)
        except Killed:
            continue
    assert effects == set(ids) - {poison}
    (letter,) = Deliveries(state).dead_letters(NAME)
    assert (letter.delivery.id, letter.reason) == (poison, "poison")
    assert pending(state) == 0


def test_a_replayed_event_that_kills_every_process_takes_no_other_retry_with_it(state: redis.Redis) -> None:
    ids = publish(state, *range(6))
    run_until_idle(lane(state, Receiver(refuse), subscription=SHORT), 1000.0)
    effects: set[str] = set()

    def answer(sent: Outgoing) -> Outcome:
        if sent.id == ids[2]:
            raise Killed
        effects.add(sent.id)
        return None

    limits = Limits(poison_after=3, lease=10.0, open_after=99)
    for life in range(12):
        crm_lane = lane(state, Receiver(answer), subscription=SHORT, consumer=str(life), limits=limits)
        try:
            run_until_idle(crm_lane, 1100.0 + 20.0 * life)
        except Killed:
            continue
    assert effects == set(ids) - {ids[2]}
    (letter,) = Deliveries(state).dead_letters(NAME)
    assert (letter.delivery.id, letter.reason) == (ids[2], "poison")


def test_a_broker_that_is_down_uses_no_try_and_schedules_nothing(state: redis.Redis) -> None:
    ids = publish(state, *range(5))
    down = DeliveryFailed("broker down", reason="broker_unavailable", charged=False)
    receiver = Receiver(lambda sent: down)
    crm_lane = lane(state, receiver, subscription=SHORT)
    waits = [crm_lane.step(at(1000.0), even) for _ in range(20)]
    assert waits[:6] == [1.0, 2.0, 5.0, 10.0, 30.0, 30.0]
    assert waiting(state) == []
    status = Deliveries(state).state(NAME, now=1000.0)
    assert (status.pending, status.failures, status.dead_letters, status.circuit) == (5, 0, 0, "closed")
    receiver.got.clear()
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 1000.0)
    assert receiver.ids == ids


def test_a_broker_failure_and_its_recovery_are_logged_once_each(state: redis.Redis) -> None:
    publish(state, *range(3))
    receiver = Receiver(lambda sent: DeliveryFailed("broker down", reason="broker_unavailable", charged=False))
    crm_lane = lane(state, receiver, subscription=SHORT)
    with capture_logs() as lines:
        for _ in range(5):
            crm_lane.step(at(1000.0), even)
        receiver.answer = lambda sent: None
        run_until_idle(crm_lane, 1000.0)
    assert [(line["event"], line["subscription"]) for line in lines] == [
        ("broker_unreachable", NAME),
        ("broker_recovered", NAME),
    ]
    assert lines[0]["problem"] == "broker down"


def test_a_broker_that_cannot_be_used_is_logged_again_each_hour_and_when_the_cause_changes(
    state: redis.Redis,
) -> None:
    publish(state, *range(3))
    problem = ["wrong password"]
    receiver = Receiver(lambda sent: DeliveryFailed(problem[0], reason="broker_unavailable", charged=False))
    crm_lane = lane(state, receiver, subscription=SHORT)
    with capture_logs() as lines:
        for moment in range(1000, 1000 + 2 * 3600 + 60, 30):
            crm_lane.step(at(float(moment)), even)
        problem[0] = "connection refused"
        crm_lane.step(at(8300.0), even)
        # The clock is set back.
        crm_lane.step(at(1100.0), even)
    assert [line["problem"] for line in lines] == ["wrong password"] * 3 + ["connection refused"] * 2


def test_the_circuit_opens_lets_one_probe_through_and_closes(state: redis.Redis) -> None:
    publish(state, *range(30))
    receiver = Receiver(refuse, batch=10)
    crm_lane, two = lane(state, receiver), lane(state, receiver, consumer="two")
    crm_lane.step(at(1000.0), even)
    assert len(receiver.got) == 10
    assert Deliveries(state).state(NAME, now=1000.0).circuit == "open"
    assert crm_lane.step(at(1004.0), even) == 1.0
    assert two.step(at(1004.0), even) == 1.0
    assert len(receiver.got) == 10
    crm_lane.step(at(1006.0), even)
    two.step(at(1006.0), even)
    assert len(receiver.got) == 11
    receiver.answer = lambda sent: None
    crm_lane.step(at(1012.0), even)
    run_until_idle(crm_lane, 1012.0)
    assert Deliveries(state).state(NAME, now=1012.0).circuit == "closed"
    run_until_idle(crm_lane, 5000.0)
    assert len({sent.id for sent in receiver.got}) == 30
    assert pending(state) == 0


def test_days_without_a_success_disable_the_subscription_until_it_is_resumed(state: redis.Redis) -> None:
    ids = publish(state, *range(3))
    receiver = Receiver(refuse, batch=1)
    policy = RetryPolicy(schedule=(1.0,) * 100, jitter=0.0)
    subscription = Subscription(name=NAME, transport="http", retry=policy)
    crm_lane = lane(state, receiver, subscription=subscription, limits=Limits(open_after=2, disable_after=3600.0))
    for moment in range(1000, 6000, 40):
        crm_lane.step(at(float(moment)), even)
    deliveries = Deliveries(state)
    assert deliveries.state(NAME, now=6000.0).circuit == "disabled"
    before = len(receiver.got)
    crm_lane.step(at(9000.0), even)
    assert len(receiver.got) == before
    receiver.answer = lambda sent: None
    receiver.got.clear()
    deliveries.resume(NAME)
    run_until_idle(crm_lane, 9000.0)
    assert sorted(receiver.ids) == sorted(ids)


def test_gone_disables_at_once_and_loses_nothing(state: redis.Redis) -> None:
    ids = publish(state, *range(3))
    gone = DeliveryFailed("receiver answered 410 Gone", reason="gone", charged=False)
    receiver = Receiver(lambda sent: gone)
    crm_lane = lane(state, receiver)
    crm_lane.step(at(1000.0), even)
    deliveries = Deliveries(state)
    status = deliveries.state(NAME, now=1000.0)
    assert (status.circuit, status.circuit_reason) == ("disabled", "receiver answered 410 Gone")
    assert crm_lane.step(at(2000.0), even) == 1.0
    deliveries.resume(NAME)
    receiver.got.clear()
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 2000.0)
    assert receiver.ids == ids


def test_a_paused_subscription_sends_nothing_until_it_is_resumed(state: redis.Redis) -> None:
    ids = publish(state, 1)
    receiver, deliveries = Receiver(), Deliveries(state)
    deliveries.pause(NAME)
    crm_lane = lane(state, receiver)
    assert crm_lane.step(at(1.0), even) == 1.0
    deliveries.resume(NAME)
    run_until_idle(crm_lane, 1.0)
    assert receiver.ids == ids


def test_a_pause_is_complete_when_every_living_lane_has_seen_it(state: redis.Redis) -> None:
    publish(state, *range(20))
    deliveries = Deliveries(state)
    still: list[int] = []

    def answer(sent: Outgoing) -> Outcome:
        if not still:
            deliveries.pause(NAME)
        still.append(deliveries.sending(NAME))
        return None

    receiver = Receiver(answer)
    crm_lane, two = lane(state, receiver), lane(state, Receiver(), consumer="two")
    state.set(keys.heartbeat("dispatch:one"), 1)
    two.step(at(1.0), even)  # no heartbeat: this process is dead, nobody waits for it
    crm_lane.step(at(1.0), even)
    assert still == [1] * 8
    assert deliveries.sending(NAME) == 1
    crm_lane.step(at(1.0), even)
    assert deliveries.sending(NAME) == 0
    assert len(receiver.got) == 8
    deliveries.resume(NAME)
    deliveries.pause(NAME)
    assert deliveries.sending(NAME) == 1


def test_a_disabled_subscription_can_be_paused(state: redis.Redis) -> None:
    publish(state, 1)
    gone = DeliveryFailed("receiver answered 410 Gone", reason="gone", charged=False)
    crm_lane, deliveries = lane(state, Receiver(lambda sent: gone)), Deliveries(state)
    state.set(keys.heartbeat("dispatch:one"), 1)
    crm_lane.step(at(1.0), even)
    deliveries.pause(NAME)
    crm_lane.step(at(2.0), even)
    assert deliveries.sending(NAME) == 0


def test_a_probe_without_work_does_not_delay_the_next_event(state: redis.Redis) -> None:
    publish(state, *range(10))
    receiver = Receiver(refuse, batch=10)
    crm_lane = lane(
        state, receiver, subscription=Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(9e9,)))
    )
    crm_lane.step(at(1000.0), even)
    crm_lane.step(at(1031.0), even)
    receiver.answer = lambda sent: None
    (late,) = publish(state, 99)
    crm_lane.step(at(1032.0), even)
    assert receiver.ids[-1] == late


def test_an_event_without_a_receipt_is_sent_again_and_finally_given_up(state: redis.Redis) -> None:
    confirmed, silent = publish(state, 1, 2)
    subscription = Subscription(
        name=NAME, transport="celery", retry=RetryPolicy(schedule=(5.0,)), receipts=Receipts(required=True, within=60.0)
    )
    receiver, deliveries = Receiver(), Deliveries(state)
    crm_lane = lane(state, receiver, subscription=subscription)
    run_until_idle(crm_lane, 1000.0)
    assert [each.awaiting_receipt for each in scheduled(state, NAME)] == [True, True]
    assert deliveries.record_receipt(NAME, confirmed, now=1000.0) is True
    assert deliveries.record_receipt(NAME, confirmed, now=1000.0) is False
    for moment in (1059.0, 1060.0, 1400.0, 2000.0):
        run_until_idle(crm_lane, moment)
    assert receiver.ids == [confirmed, silent, silent]
    (letter,) = deliveries.dead_letters(NAME)
    assert (letter.delivery.id, letter.reason, letter.delivery.tries) == (silent, "no receipt", 2)


@pytest.mark.parametrize("within", [5.0, 60.0, 900.0])
def test_an_event_without_a_receipt_is_sent_again_after_the_time_that_was_given(
    state: redis.Redis, within: float
) -> None:
    publish(state, 1)
    subscription = Subscription(name=NAME, transport="celery", receipts=Receipts(required=True, within=within))
    sent_at: list[float] = []
    clock = [1000.0]
    receiver = Receiver(lambda sent: sent_at.append(clock[0] - 1000.0))  # type: ignore[func-returns-value]
    crm_lane = lane(state, receiver, subscription=subscription)
    while clock[0] < 1000.0 + 4 * within:
        run_until_idle(crm_lane, clock[0])
        clock[0] += within / 5
    assert sent_at == pytest.approx([0.0, within, 2 * within, 3 * within])


def test_a_receipt_that_arrives_before_the_send_returns_counts(state: redis.Redis) -> None:
    (only,) = publish(state, 1)
    deliveries = Deliveries(state)

    def answer(sent: Outgoing) -> Outcome:
        assert deliveries.record_receipt(NAME, sent.id, now=1000.0) is True
        return None

    subscription = Subscription(name=NAME, transport="celery", receipts=Receipts(required=True, within=60.0))
    receiver = Receiver(answer)
    crm_lane = lane(state, receiver, subscription=subscription)
    run_until_idle(crm_lane, 1000.0)
    run_until_idle(crm_lane, 9000.0)
    assert receiver.ids == [only]
    assert scheduled(state, NAME) == []


def test_a_retry_whose_event_left_the_journal_becomes_a_dead_letter_that_says_so(state: redis.Redis) -> None:
    publish(state, 1)
    crm_lane = lane(state, Receiver(refuse), subscription=SHORT)
    run_until_idle(crm_lane, 1000.0)
    state.xtrim(keys.journal(0), maxlen=0)
    run_until_idle(crm_lane, 1005.0)
    deliveries = Deliveries(state)
    (letter,) = deliveries.dead_letters(NAME)
    assert letter.reason == "the event is no longer in the journal"
    assert letter.replay_problem == "the event is gone. Remedy: backfill the attempt"
    assert replay_one(deliveries, NAME, letter, now=1.0) == 0


def test_a_journal_that_was_deleted_is_read_from_its_start_again(state: redis.Redis) -> None:
    receiver = Receiver()
    crm_lane = lane(state, receiver)
    run_until_idle(crm_lane, 1.0)
    state.flushall()
    with pytest.raises(StateUnavailable, match=r"NOGROUP|XGROUP"):
        crm_lane.step(at(1.0), even)
    crm_lane.recover()
    ids = publish(state, 1)
    run_until_idle(crm_lane, 1.0)
    assert receiver.ids == ids
