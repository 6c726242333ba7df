"""A lane for messages over a state server: single messages within the rate, digests, and processes that die."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from bridge.config.model import Filter, Rate, RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.errors import DeliveryFailed
from bridge.state import keys
from schemas.notices import POLL_FAILING
from tests.support.dispatch import Receiver, Verdict, at, even, publish, refuse, run_until_idle, scheduled
from workers.dispatch.lane import CRASH_POINTS
from workers.dispatch.notify_lane import NOTIFY_CRASH_POINTS, NotifyLane
from workers.dispatch.rate import RateLimit
from workers.dispatch.schedule import Limits
from workers.transports.contract import Outgoing, Try

NAME = "ops"
HOUR = 3600.0
#: The beginning of an hour.
START = 1_800_000_000.0 - 1_800_000_000.0 % HOUR
RETRY = RetryPolicy(schedule=(5.0, 300.0), jitter=0.2)
TWO = Rate(events=2, per=60.0)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the lane may catch it."""


class Chat(Receiver):
    """Each `send` is one message."""

    def __init__(self, answer: Verdict | None = None) -> None:
        super().__init__(answer, batch=1)
        self.messages: list[list[str]] = []

    def send(self, events: Any, *, now: float) -> list[Try]:
        outcome = self.answer(events[0])
        if outcome is None:
            self.messages.append([event.id for event in events])
        return [Try(outcome, now, 0.1)] * len(events)


def subscription(**options: Any) -> Subscription:
    return Subscription(**{"name": NAME, "transport": "notify", "retry": RETRY, **options})


def notify_lane(
    state: redis.Redis,
    chat: Chat,
    *,
    consumer: str = "one",
    crash: Callable[[str], None] = lambda point: None,
    **options: Any,
) -> NotifyLane:
    """A lane whose group begins here: what is published from now on is for it."""
    made = NotifyLane(
        subscription(**options),
        0,
        transport=chat,
        state=state,
        blocking_client=state,
        consumer=consumer,
        limits=Limits(),
        crash=crash,
    )
    made._join()
    return made


def flat(chat: Chat) -> list[str]:
    return [name for message in chat.messages for name in message]


def test_a_new_subscription_begins_with_the_next_event(state: redis.Redis) -> None:
    publish(state, *range(5))
    chat = Chat()
    lane = notify_lane(state, chat)
    run_until_idle(lane, START)
    fresh = publish(state, 7, 8)
    run_until_idle(lane, START)
    # One message each.
    assert chat.messages == [[name] for name in fresh]


def test_what_the_filter_excludes_is_settled_at_once_and_uses_no_rate(state: redis.Redis) -> None:
    chat = Chat()
    lane = notify_lane(state, chat, rate=Rate(events=1, per=HOUR), filter=Filter(types=(POLL_FAILING,)))
    publish(state, *range(100))
    (alarm,) = publish(state, 200, kind=POLL_FAILING)
    assert run_until_idle(lane, START) < 6
    assert chat.messages == [[alarm]]
    assert Deliveries(state).state(NAME, now=START).skipped == 100


def test_what_is_more_than_the_rate_is_one_message_at_the_end_of_the_period(state: redis.Redis) -> None:
    chat = Chat()
    lane = notify_lane(state, chat, rate=TWO, digest=HOUR)
    ids = publish(state, *range(7))
    run_until_idle(lane, START + 10)
    assert chat.messages == [[ids[0]], [ids[1]]]
    assert [delivery.tries for delivery in scheduled(state, NAME)] == [0] * 5
    later = publish(state, *range(10, 13))
    run_until_idle(lane, START + 20)
    run_until_idle(lane, START + HOUR - 1)
    assert len(chat.messages) == 2
    run_until_idle(lane, START + HOUR)
    assert chat.messages[2:] == [ids[2:] + later] or sorted(chat.messages[2]) == sorted(ids[2:] + later)
    assert len(chat.messages) == 3
    status = Deliveries(state).state(NAME, now=START + HOUR)
    assert (status.delivered, status.failed, status.retrying, status.pending, status.dead_letters) == (10, 0, 0, 0, 0)


def test_without_a_rate_everything_is_in_the_digest(state: redis.Redis) -> None:
    chat = Chat()
    lane = notify_lane(state, chat, digest=HOUR)
    ids = publish(state, *range(3))
    run_until_idle(lane, START + 10)
    assert chat.messages == []
    run_until_idle(lane, START + HOUR)
    (message,) = chat.messages
    assert sorted(message) == sorted(ids)


def test_whoever_resumes_the_subscription_gets_the_digest_at_once(state: redis.Redis) -> None:
    chat = Chat()
    lane = notify_lane(state, chat, digest=HOUR)
    ids = publish(state, *range(3))
    run_until_idle(lane, START + 10)
    assert Deliveries(state).retry_now(NAME, now=START + 20) == 3
    run_until_idle(lane, START + 20)
    (message,) = chat.messages
    assert sorted(message) == sorted(ids)


def test_digests_count_for_the_rate(state: redis.Redis) -> None:
    chat = Chat()
    lane = notify_lane(state, chat, rate=Rate(events=1, per=600.0), digest=60.0)
    first, *others = publish(state, *range(4))
    run_until_idle(lane, START)
    for moment in range(60, 600, 60):
        run_until_idle(lane, START + moment)
    assert chat.messages == [[first]]
    # The rate counts in slots of a hundredth of its period.
    run_until_idle(lane, START + 606.5)
    assert sorted(flat(chat)[1:]) == sorted(others)
    assert len(chat.messages) == 2


def test_a_rate_without_a_digest_lets_events_wait_for_their_turn(state: redis.Redis) -> None:
    chat = Chat()
    lane = notify_lane(state, chat, rate=TWO)
    ids = publish(state, *range(5))
    run_until_idle(lane, START)
    assert chat.messages == [[ids[0]], [ids[1]]]
    assert 0 < lane.step(at(START + 30), even) <= 1.0
    # What waits is given back: an erasure may take it.
    state.xdel(keys.journal(0), state.xrange(keys.journal(0))[2][0])  # type: ignore[index]
    run_until_idle(lane, START + 61)
    assert flat(chat) == [ids[0], ids[1], ids[3], ids[4]]


def test_events_that_wait_long_for_the_rate_are_not_taken_for_what_ends_processes(state: redis.Redis) -> None:
    chat, rate = Chat(), Rate(events=1, per=60.0)
    lane = notify_lane(state, chat, rate=rate)
    ids = publish(state, *range(3))
    for minute in range(12):
        if minute < 8:
            # Another process is quicker each time.
            RateLimit(state, NAME, rate).take(1, START + 61 * minute)
        run_until_idle(lane, START + 61 * minute)
    assert chat.messages == [[name] for name in ids]
    assert Deliveries(state).state(NAME, now=START).dead_letters == 0


def test_a_digest_that_fails_is_tried_again_as_one_and_given_up_as_each(state: redis.Redis) -> None:
    chat = Chat(refuse)
    lane = notify_lane(state, chat, digest=HOUR)
    ids = publish(state, *range(6))
    run_until_idle(lane, START)
    draws = iter([0.1, 0.9, 0.2, 0.8, 0.3, 0.7] * 10)
    lane.step(at(START + HOUR), lambda: next(draws))
    dues = {due for _, due in state.zrange(keys.retry(NAME), 0, -1, withscores=True)}  # type: ignore[union-attr]
    assert len(dues) == 1
    chat.answer = lambda sent: None
    run_until_idle(lane, START + HOUR + 20)
    (message,) = chat.messages
    assert sorted(message) == sorted(ids)
    gone = publish(state, *range(10, 12))
    chat.answer = lambda sent: DeliveryFailed("Slack: answered 404", permanent=True, about_event=True)
    run_until_idle(lane, START + 2 * HOUR)
    run_until_idle(lane, START + 3 * HOUR)
    assert sorted(each.delivery.id for each in Deliveries(state).dead_letters(NAME)) == sorted(gone)


def test_a_pause_gives_back_what_is_held(state: redis.Redis) -> None:
    chat = Chat()
    lane = notify_lane(state, chat)
    ids = publish(state, *range(3))
    lane.step(at(START), even)
    deliveries = Deliveries(state)
    deliveries.pause(NAME)
    run_until_idle(lane, START)
    assert chat.messages == [[ids[0]]]
    deliveries.resume(NAME)
    run_until_idle(lane, START)
    assert chat.messages == [[name] for name in ids]
    assert deliveries.state(NAME, now=START).dead_letters == 0


@pytest.mark.parametrize("point", [*CRASH_POINTS, *NOTIFY_CRASH_POINTS])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_process_that_ends_anywhere_loses_no_event_and_makes_no_digest_single(
    state: redis.Redis, point: str, after: int
) -> None:
    chat = Chat()
    left = after

    def crash(here: str) -> None:
        nonlocal left
        left -= here == point
        if here == point and left == 0:
            raise Killed

    first = notify_lane(state, chat, consumer="one", crash=crash, rate=TWO, digest=HOUR)
    ids = publish(state, *range(9))
    try:
        for moment in (START, START + HOUR):
            run_until_idle(first, moment)
    except Killed:
        pass
    second = notify_lane(state, chat, consumer="two", rate=TWO, digest=HOUR)
    second.adopt(lambda name: name == "two")
    for moment in (START + 30, START + HOUR + 60, START + HOUR + 300, START + 2 * HOUR + 600):
        run_until_idle(second, moment)
    assert set(flat(chat)) == set(ids)
    # Two singles, one digest; the message under way when it ended may be repeated, or its event is in a digest.
    assert len(chat.messages) <= 4
    assert len([message for message in chat.messages if len(message) > 1]) >= 1
    status = Deliveries(state).state(NAME, now=START + 3 * HOUR)
    assert (status.retrying, status.pending, status.dead_letters) == (0, 0, 0)


def test_events_that_end_processes_again_and_again_are_sent_alone_and_given_up(state: redis.Redis) -> None:
    def die(sent: Outgoing) -> None:
        raise Killed

    publisher = notify_lane(state, Chat(), digest=HOUR)
    ids = publish(state, *range(2))
    run_until_idle(publisher, START)
    moment = START + HOUR
    for number in range(20):
        lane = notify_lane(state, Chat(die), consumer=f"c{number}", digest=HOUR)
        try:
            run_until_idle(lane, moment)
        except Killed:
            moment += 200.0
        else:
            break
    letters = list(Deliveries(state).dead_letters(NAME))
    assert sorted(letter.delivery.id for letter in letters) == sorted(ids)
    assert {letter.reason for letter in letters} == {"poison"}
    assert json.loads(letters[0].event)["type"] == "attempt.completed"
