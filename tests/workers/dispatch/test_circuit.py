"""The circuit judges the receiver: refusals of single events delay no other event, and a failing receiver is spared."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import redis
from structlog.testing import capture_logs

from bridge.config.model import Filter, RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.errors import DeliveryFailed
from bridge.net.push_client import Answer
from bridge.state import keys
from tests.support.dispatch import Receiver, at, even, lane, publish, refuse, run_until_idle
from workers.dispatch.circuit import last_error, trailing_failures
from workers.transports.contract import Outcome, Outgoing
from workers.transports.http_push import answer_outcome

pytestmark = pytest.mark.long

NAME = "crm"
CRM = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(5.0, 300.0, 1800.0)))
DOWN = DeliveryFailed("receiver answered 500", reason="receiver_error")
REFUSED = DeliveryFailed("receiver answered 422", reason="receiver_refused", about_event=True)


def serve(state: redis.Redis, answer: Callable[[Outgoing, float], Outcome], seconds: int) -> dict[str, list[float]]:
    """Publish an event a second and serve the subscription; event id -> times after its publishing when it was sent."""
    clock = [1000.0]
    published: dict[str, float] = {}
    tried: dict[str, list[float]] = {}

    def decide(sent: Outgoing) -> Outcome:
        tried.setdefault(sent.id, []).append(clock[0] - published[sent.id])
        return answer(sent, clock[0])

    crm_lane = lane(state, Receiver(decide), subscription=CRM)
    draw = random.Random(3).random
    for second in range(seconds):
        (event_id,) = publish(state, second)
        published[event_id] = clock[0]
        for _ in range(20):
            if crm_lane.step(lambda: clock[0], draw) > 0:
                break
        clock[0] += 1.0
    return {event_id: tried.get(event_id, []) for event_id in published}


def number_of(sent: Outgoing) -> int:
    return int(sent.attempt.removeprefix("a"))


@pytest.mark.parametrize("share", [0.2, 0.8, 1.0])
def test_a_receiver_that_refuses_some_events_gets_every_other_event_at_once(state: redis.Redis, share: float) -> None:
    tried = serve(state, lambda sent, _: REFUSED if number_of(sent) % 10 < share * 10 else None, 200)
    assert all(times[0] == 0.0 for times in tried.values())
    assert Deliveries(state).state(NAME, now=1200.0).circuit == "closed"


def test_a_receiver_that_answers_every_fifth_try_gets_every_event_at_once(state: redis.Redis) -> None:
    chance = random.Random(11)
    tried = serve(state, lambda sent, _: None if chance.random() < 0.2 else DOWN, 400)
    waited = [times[0] for times in list(tried.values())[60:]]
    assert max(waited) == 0.0


def test_events_that_always_break_the_receiver_delay_healthy_ones_for_a_moment_only(state: redis.Redis) -> None:
    tried = serve(state, lambda sent, _: DOWN if number_of(sent) % 5 else None, 400)
    healthy = [times for number, times in enumerate(tried.values()) if number % 5 == 0]
    assert all(times and times[0] <= 5.0 for times in healthy)


def test_after_an_outage_one_healthy_answer_in_five_is_enough_within_a_minute(state: redis.Redis) -> None:
    calls = [0]

    def answer(_: Outgoing, now: float) -> Outcome:
        if now < 1200.0:
            return DOWN
        calls[0] += 1
        return DOWN if calls[0] % 5 else None

    tried = serve(state, answer, 400)
    assert max(times[0] for times in list(tried.values())[260:]) == 0.0
    # While the receiver was down, it was spared.
    assert sum(1 for times in tried.values() for sent in times if sent < 1.0) < 250


def test_a_probe_is_a_new_event_in_turn_with_a_retry(state: redis.Redis) -> None:
    old = publish(state, *range(10))
    receiver = Receiver(refuse, batch=10)
    crm_lane = lane(state, receiver, subscription=CRM)
    crm_lane.step(at(1000.0), even)
    new = publish(state, *range(10, 14))
    receiver.got.clear()
    for moment in (1006.0, 1012.0, 1018.0, 1024.0):
        crm_lane.step(at(moment), even)
    assert [sent in new for sent in receiver.ids] == [True, False, True, False]
    assert {receiver.ids[1], receiver.ids[3]} <= set(old)


def test_a_transport_that_takes_one_event_at_a_time_gets_new_events_beside_retries(state: redis.Redis) -> None:
    publish(state, *range(20))
    receiver = Receiver(lambda sent: REFUSED, batch=1)
    policy = RetryPolicy(schedule=(0.001,) * 100, jitter=0.0)
    crm_lane = lane(state, receiver, subscription=Subscription(name=NAME, transport="http", retry=policy))
    for step in range(40):
        crm_lane.step(at(1000.0 + step), even)
    assert len(set(receiver.ids)) == 20


def test_events_that_the_filter_excludes_do_not_delay_a_probe(state: redis.Redis) -> None:
    publish(state, *range(10))
    receiver = Receiver(refuse, batch=10)
    subscription = Subscription(name=NAME, transport="http", filter=Filter(sources=("eu-*",)), retry=CRM.retry)
    crm_lane = lane(state, receiver, subscription=subscription)
    crm_lane.step(at(1000.0), even)
    state.delete(keys.retry(NAME))
    publish(state, *range(10, 40), source="us-mettl")
    (wanted,) = publish(state, 50)
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, 1006.0)
    assert receiver.ids[-1] == wanted


def test_an_answer_that_refuses_the_event_closes_the_circuit(state: redis.Redis) -> None:
    publish(state, *range(12))
    receiver = Receiver(refuse, batch=10)
    crm_lane = lane(state, receiver, subscription=CRM)
    crm_lane.step(at(1000.0), even)
    assert Deliveries(state).state(NAME, now=1000.0).circuit == "open"
    receiver.answer = lambda sent: REFUSED
    crm_lane.step(at(1006.0), even)
    result = Deliveries(state).state(NAME, now=1006.0)
    assert (result.circuit, result.failures, result.last_error) == ("closed", 0, "receiver answered 422")


def test_the_circuit_is_open_in_the_moment_of_a_probe_too(state: redis.Redis) -> None:
    publish(state, *range(12))
    seen = []
    deliveries = Deliveries(state)

    def answer(sent: Outgoing) -> Outcome:
        seen.append(deliveries.state(NAME, now=1006.0).circuit)
        return refuse(sent)

    receiver = Receiver(answer, batch=10)
    crm_lane = lane(state, receiver, subscription=CRM)
    crm_lane.step(at(1000.0), even)
    crm_lane.step(at(1006.0), even)
    assert seen[-1] == "open"
    # Nobody has probed for a while: it is still open.
    assert deliveries.state(NAME, now=9000.0).circuit == "open"


def test_a_circuit_reopens_in_its_usual_time_after_the_clock_was_set_back(state: redis.Redis) -> None:
    publish(state, *range(12))
    receiver = Receiver(refuse, batch=10)
    crm_lane = lane(state, receiver, subscription=CRM)
    crm_lane.step(at(10_000.0), even)
    receiver.got.clear()
    receiver.answer = lambda sent: None
    crm_lane.step(at(2800.0), even)
    assert len(receiver.got) == 1
    assert Deliveries(state).state(NAME, now=2800.0).circuit == "closed"


@pytest.mark.parametrize("status", range(400, 500))
def test_a_4xx_is_about_the_event_unless_it_asks_for_time(status: int) -> None:
    failure = answer_outcome(Answer(status, {}, b""), now=0.0)
    assert failure is not None
    assert failure.about_event == (status not in (408, 410, 425, 429))


@pytest.mark.parametrize("status", [103, 301, 500, 502, 503, 504, 599])
def test_other_failures_are_the_receivers(status: int) -> None:
    failure = answer_outcome(Answer(status, {}, b""), now=0.0)
    assert failure is not None
    assert not failure.about_event


def test_failures_of_the_receiver_in_a_row_are_counted_from_the_end() -> None:
    assert trailing_failures([DOWN, None, DOWN, DOWN]) == 2
    assert trailing_failures([DOWN, REFUSED, DOWN]) == 1
    assert trailing_failures([DOWN, None]) == 0
    assert trailing_failures([DOWN, REFUSED]) == 0
    assert trailing_failures([]) == 0


def test_the_last_error_of_a_batch_is_of_either_kind() -> None:
    assert last_error([DOWN, REFUSED, None]) == "receiver answered 422"
    assert last_error([REFUSED, DOWN]) == "receiver answered 500"
    assert last_error([None]) == ""


def test_a_circuit_that_opens_and_closes_is_logged_and_again_each_hour_while_it_is_open(state: redis.Redis) -> None:
    publish(state, *range(300))
    receiver = Receiver(refuse, batch=10)
    crm_lane = lane(state, receiver, subscription=CRM)
    with capture_logs() as lines:
        for moment in range(1000, 1000 + 2 * 3600 + 60, 60):
            crm_lane.step(at(float(moment)), even)
        receiver.answer = lambda sent: None
        crm_lane.step(at(9000.0), even)
    assert [line["event"] for line in lines] == ["circuit_open"] * 3 + ["circuit_closed"]
    assert lines[0]["problem"] == "receiver answered 500"


def test_a_disabled_subscription_is_logged_with_its_remedy(state: redis.Redis) -> None:
    publish(state, 1)
    gone = DeliveryFailed("receiver answered 410 Gone", reason="gone", charged=False)
    with capture_logs() as lines:
        lane(state, Receiver(lambda sent: gone), subscription=CRM).step(at(1000.0), even)
    (line,) = [line for line in lines if line["event"] == "subscription_disabled"]
    assert line["remedy"] == "fix the receiver, then attempt-bridge subscriptions resume crm"


FIVE_DAYS = 5 * 86_400.0


def in_turn(*outcomes: Outcome) -> Callable[[Outgoing], Outcome]:
    """The outcomes again and again."""
    calls = [0]

    def answer(_: Outgoing) -> Outcome:
        calls[0] += 1
        return outcomes[calls[0] % len(outcomes)]

    return answer


def try_at(state: redis.Redis, receiver: Receiver, *moments: float) -> str:
    """Try one event at each of the moments; what the circuit is then."""
    policy = RetryPolicy(schedule=(1.0,) * 200, jitter=0.0)
    crm_lane = lane(state, receiver, subscription=Subscription(name=NAME, transport="http", retry=policy))
    for moment in moments:
        crm_lane.step(at(moment), even)
    return Deliveries(state).state(NAME, now=moments[-1]).circuit


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: DOWN, "no answer for 5 days"),
        (lambda _: REFUSED, "nothing but failures for 5 days"),
        (in_turn(DOWN, REFUSED), "nothing but failures for 5 days"),
    ],
    ids=["down", "refuses", "both"],
)
def test_five_days_of_nothing_but_failures_disable_a_subscription_and_not_a_second_less(
    state: redis.Redis, answer: Callable[[Outgoing], Outcome], reason: str
) -> None:
    publish(state, 1)
    receiver, begin = Receiver(answer), 1000.0
    hours = [begin + 3600.0 * hour for hour in range(120)]
    assert try_at(state, receiver, *hours, begin + FIVE_DAYS) != "disabled"
    assert try_at(state, receiver, begin + FIVE_DAYS + 6.0) == "disabled"
    status = Deliveries(state).state(NAME, now=begin + FIVE_DAYS + 6.0)
    assert status.circuit_reason == reason
    before = len(receiver.got)
    try_at(state, receiver, begin + FIVE_DAYS + 9000.0)
    assert len(receiver.got) == before
    # Resumed, it has five days again.
    Deliveries(state).resume(NAME)
    assert try_at(state, receiver, begin + FIVE_DAYS + 9010.0) != "disabled"


def test_one_success_in_five_days_keeps_a_subscription(state: redis.Redis) -> None:
    publish(state, 1)
    receiver, begin = Receiver(lambda _: REFUSED), 1000.0
    try_at(state, receiver, *(begin + 3600.0 * hour for hour in range(60)))
    (good,) = publish(state, 2)
    receiver.answer = lambda sent: None if sent.id == good else REFUSED
    try_at(state, receiver, begin + 3600.0 * 61)
    assert try_at(state, receiver, *(begin + 3600.0 * hour for hour in range(62, 130))) == "closed"


def test_a_few_failures_far_apart_do_not_disable_a_subscription(state: redis.Redis) -> None:
    publish(state, 1)
    days = [1000.0 + 86_400.0 * day for day in range(9)]
    assert try_at(state, Receiver(lambda _: REFUSED), *days) == "closed"
    assert try_at(state, Receiver(lambda _: REFUSED), 1000.0 + 86_400.0 * 9) == "disabled"
