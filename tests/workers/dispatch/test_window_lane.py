"""A lane with a sliding window: what is under way at once, order, pauses, suspects, and what happens at each end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import redis

from bridge.config.model import Filter, Rate, RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.delivery.try_feed import TryReader
from bridge.errors import DeliveryFailed
from bridge.state import keys
from tests.support.dispatch import (
    HELD,
    WindowReceiver,
    at,
    even,
    event,
    lane,
    publish,
    refuse,
    run_until_idle,
)
from workers.dispatch.schedule import Limits
from workers.dispatch.window_lane import WINDOW_CRASH_POINTS, WindowLane
from workers.transports.contract import Outcome, Outgoing

NAME = "crm"
SHORT = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(5.0, 300.0), jitter=0.0))
GONE = DeliveryFailed("receiver answered 410 Gone", reason="gone", charged=False)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the lane may catch it."""


def pending(state: redis.Redis) -> int:
    return state.xpending(keys.journal(0), keys.group(NAME))["pending"]


def revise(state: redis.Redis, attempt: int, revisions: int) -> list[str]:
    """Append several events of one attempt; returns their ids."""
    ids = []
    for revision in range(revisions):
        made = event(attempt)
        fields = {"id": f"{made['id']}-{revision}", "type": made["type"], "source": "eu", "attempt": f"a{attempt}"}
        state.xadd(keys.journal(0), {**fields, "event": "{}"})
        ids.append(fields["id"])
    return ids


def steps(window_lane: Any, moment: float, number: int = 6) -> None:
    for _ in range(number):
        window_lane.step(at(moment), even)


def test_everything_in_the_journal_is_sent_once_and_nothing_stays_pending(state: redis.Redis) -> None:
    ids = publish(state, *range(50))
    receiver = WindowReceiver()
    run_until_idle(lane(state, receiver), 1000.0)
    assert receiver.ids == ids
    assert pending(state) == 0
    result = Deliveries(state).state(NAME, now=1000.0)
    assert (result.delivered, result.failed, result.retrying, result.circuit) == (50, 0, 0, "closed")


def test_the_tries_of_a_window_are_shown_to_those_who_watch_and_to_nobody_else(state: redis.Redis) -> None:
    publish(state, 1)
    run_until_idle(lane(state, WindowReceiver()), 1000.0)
    assert not state.exists(keys.ended_tries())
    reader = TryReader(state)
    reader.begin()
    ids = publish(state, 2, 3)
    run_until_idle(lane(state, WindowReceiver(), consumer="two"), 1002.0)
    assert [(told.subscription, told.event_id, told.outcome) for told in reader.read(0.1)] == [
        (NAME, ident, "delivered") for ident in ids
    ]


def test_a_lane_that_waits_for_events_itself_never_sleeps_beside_them(state: redis.Redis) -> None:
    receiver = WindowReceiver()
    window_lane, waits = lane(state, receiver), []
    for number in range(3):
        ids = publish(state, number)
        for _ in range(4):
            waits.append(window_lane.step(at(1000.0), even, block=0.01))
        assert receiver.ids[-1:] == ids
    assert set(waits) == {0.0}


def test_a_slow_answer_holds_up_only_its_own_attempt(state: redis.Redis) -> None:
    slow = revise(state, 0, 3)
    ids = publish(state, *range(1, 41))
    receiver = WindowReceiver(lambda sent: HELD if sent.attempt == "a0" else None, concurrency=4)
    window_lane = lane(state, receiver)
    steps(window_lane, 1000.0, 40)
    assert receiver.ids == [slow[0], *ids]
    assert pending(state) == 3
    receiver.answer = lambda sent: None
    receiver.release()
    run_until_idle(window_lane, 1000.0)
    assert [sent for sent in receiver.ids if sent in slow] == slow
    assert pending(state) == 0


def test_no_more_than_the_concurrency_is_under_way(state: redis.Redis) -> None:
    publish(state, *range(30))
    receiver = WindowReceiver(lambda sent: HELD, concurrency=5)
    window_lane = lane(state, receiver)
    steps(window_lane, 1000.0)
    assert (receiver.most, len(receiver.got)) == (5, 5)
    assert pending(state) == 15
    receiver.answer = lambda sent: None
    receiver.release()
    run_until_idle(window_lane, 1000.0)
    assert (receiver.most, len(receiver.got), pending(state)) == (5, 30, 0)


def test_the_entries_of_a_window_are_not_adopted_while_its_process_lives(state: redis.Redis) -> None:
    publish(state, *range(6))
    receiver, other = WindowReceiver(lambda sent: HELD, concurrency=3), WindowReceiver()
    steps(lane(state, receiver), 1000.0)
    neighbour = lane(state, other, consumer="two")
    neighbour.step(at(1000.0), even)
    assert neighbour.adopt(lambda consumer: consumer == "one") == 0
    run_until_idle(neighbour, 1000.0)
    assert other.got == []
    assert neighbour.adopt(lambda consumer: False) == 6
    run_until_idle(neighbour, 1000.0)
    assert len(other.got) == 6
    assert pending(state) == 0


def test_a_retry_under_way_is_not_claimed_by_another_process(state: redis.Redis) -> None:
    publish(state, 1)
    run_until_idle(lane(state, WindowReceiver(refuse), subscription=SHORT), 1000.0)
    first, second = WindowReceiver(lambda sent: HELD), WindowReceiver()
    holding = lane(state, first, subscription=SHORT)
    steps(holding, 1005.0)
    run_until_idle(lane(state, second, subscription=SHORT, consumer="two"), 1005.0)
    assert (len(first.got), len(second.got)) == (1, 0)
    first.answer = lambda sent: None
    first.release()
    run_until_idle(holding, 1006.0)
    assert state.zcard(keys.retry(NAME)) == state.hlen(keys.claims(NAME)) == 0


def test_retries_leave_room_for_new_events_and_more_while_there_are_some(state: redis.Redis) -> None:
    publish(state, *range(40))
    refused = DeliveryFailed("receiver answered 422", reason="receiver_refused", about_event=True)
    run_until_idle(lane(state, WindowReceiver(lambda sent: refused), subscription=SHORT), 1000.0)
    receiver = WindowReceiver(lambda sent: HELD, concurrency=16)
    window_lane = lane(state, receiver, subscription=SHORT)
    steps(window_lane, 1005.0)
    assert len(receiver.got) == 12
    (new,) = publish(state, 50)
    steps(window_lane, 1005.0)
    assert receiver.ids[-1:] == [new]
    receiver.answer = lambda sent: None
    receiver.release()
    receiver.answer = lambda sent: HELD
    steps(window_lane, 1006.0)
    assert len(receiver.got) == 12 + 1 + 2
    receiver.answer = lambda sent: None
    receiver.release()
    run_until_idle(window_lane, 1006.0)
    assert len(set(receiver.ids)) == 41
    assert state.zcard(keys.retry(NAME)) == 0


def test_a_pause_is_complete_when_nothing_is_under_way_any_more(state: redis.Redis) -> None:
    ids = publish(state, *range(20))
    receiver, deliveries = WindowReceiver(lambda sent: HELD, concurrency=4), Deliveries(state)
    window_lane = lane(state, receiver)
    state.set(keys.heartbeat("dispatch:one"), 1)
    steps(window_lane, 1000.0)
    deliveries.pause(NAME)
    steps(window_lane, 1000.0)
    assert (deliveries.sending(NAME), len(receiver.got)) == (1, 4)
    receiver.answer = lambda sent: None
    receiver.release()
    steps(window_lane, 1000.0)
    assert (deliveries.sending(NAME), len(receiver.got)) == (0, 4)
    assert Deliveries(state).state(NAME, now=1000.0).delivered == 4
    deliveries.resume(NAME)
    run_until_idle(window_lane, 1000.0)
    assert receiver.ids == ids
    assert pending(state) == 0


def test_the_circuit_opens_lets_one_probe_through_and_closes(state: redis.Redis) -> None:
    publish(state, *range(60))
    receiver = WindowReceiver(refuse, concurrency=10)
    window_lane = lane(state, receiver, subscription=SHORT)
    steps(window_lane, 1000.0)
    assert len(receiver.got) == 10
    assert Deliveries(state).state(NAME, now=1000.0).circuit == "open"
    steps(window_lane, 1004.0)
    assert len(receiver.got) == 10
    receiver.answer = lambda sent: HELD
    steps(window_lane, 1006.0)
    assert len(receiver.got) == 11
    steps(window_lane, 1009.0)
    assert len(receiver.got) == 11
    receiver.answer = lambda sent: None
    receiver.release()
    for moment in (1010.0, 1012.0, 1400.0):
        run_until_idle(window_lane, moment)
    assert Deliveries(state).state(NAME, now=1400.0).circuit == "closed"
    assert len({sent.id for sent in receiver.got}) == 60
    assert pending(state) == 0


def test_refusals_of_single_events_never_open_the_circuit(state: redis.Redis) -> None:
    publish(state, *range(100))
    refused = DeliveryFailed("receiver answered 422", reason="receiver_refused", about_event=True)
    receiver = WindowReceiver(lambda sent: refused)
    run_until_idle(lane(state, receiver, subscription=SHORT), 1000.0)
    assert len(receiver.got) == 100
    assert Deliveries(state).state(NAME, now=1000.0).circuit == "closed"


def test_events_that_the_filter_excludes_do_not_delay_a_probe(state: redis.Redis) -> None:
    publish(state, *range(10))
    receiver = WindowReceiver(refuse, concurrency=10)
    subscription = Subscription(name=NAME, transport="http", filter=Filter(sources=("eu-*",)), retry=SHORT.retry)
    window_lane = lane(state, receiver, subscription=subscription)
    steps(window_lane, 1000.0)
    state.delete(keys.retry(NAME))
    publish(state, *range(10, 40), source="us-mettl")
    (wanted,) = publish(state, 50)
    receiver.answer = lambda sent: None
    run_until_idle(window_lane, 1006.0)
    assert receiver.ids[-1] == wanted


def test_gone_disables_at_once_and_loses_nothing(state: redis.Redis) -> None:
    ids = publish(state, *range(30))
    receiver = WindowReceiver(lambda sent: GONE, concurrency=4)
    window_lane, deliveries = lane(state, receiver), Deliveries(state)
    steps(window_lane, 1000.0)
    result = deliveries.state(NAME, now=1000.0)
    assert (result.circuit, result.circuit_reason, len(receiver.got)) == ("disabled", "receiver answered 410 Gone", 4)
    deliveries.resume(NAME)
    receiver.got.clear()
    receiver.answer = lambda sent: None
    run_until_idle(window_lane, 2000.0)
    assert sorted(receiver.ids) == sorted(ids)
    assert pending(state) == 0


@pytest.mark.parametrize("point", WINDOW_CRASH_POINTS)
def test_a_process_killed_at_any_point_loses_nothing(state: redis.Redis, point: str) -> None:
    ids = publish(state, *range(40))
    left, effects, deliveries = [3 if point == "started" else 1], Counter[str](), Deliveries(state)

    def answer(sent: Outgoing) -> Outcome:
        if point == "parked" and left:
            return GONE
        if point == "judged" and left and sent.id == ids[0]:
            return refuse(sent)
        if point == "recalled" and left and sent.id == ids[2]:
            deliveries.pause(NAME)
        effects[sent.id] += 1
        return None

    def crash(here: str) -> None:
        if here == point and left:
            left[0] -= 1
            if not left[0]:
                left.clear()
                raise Killed

    receiver = WindowReceiver(answer, concurrency=5)
    doomed = lane(state, receiver, subscription=SHORT, crash=crash)
    with pytest.raises(Killed):
        steps(doomed, 1000.0, 50)
    deliveries.resume(NAME)
    heir = lane(state, WindowReceiver(answer, concurrency=5), subscription=SHORT, consumer="two")
    heir.step(at(1000.0), even)
    heir.adopt(lambda consumer: False)
    for moment in (1000.0, 1300.0, 1600.0):
        run_until_idle(heir, moment)
    assert set(effects) == set(ids)
    # Only what was under way at the moment of death may have gone twice.
    assert sum(effects.values()) - len(ids) <= 4 * 5
    assert (pending(state), state.hlen(keys.deliveries(NAME))) == (0, 0)


def test_an_event_that_kills_every_process_becomes_a_dead_letter_and_the_others_are_sent(
    state: redis.Redis,
) -> None:
    ids = publish(state, *range(20))
    poison, effects = ids[4], set[str]()

    def answer(sent: Outgoing) -> Outcome:
        if sent.id == poison:
            raise Killed
        effects.add(sent.id)
        return None

    for life in range(12):
        limits = Limits(poison_after=3)
        window_lane = lane(state, WindowReceiver(answer, concurrency=6), consumer=str(life), limits=limits)
        try:
            window_lane.step(at(1000.0), even)
            window_lane.adopt(lambda consumer: False)
            run_until_idle(window_lane, 1000.0)
        except Killed:
            continue
    assert effects == set(ids) - {poison}
    (letter,) = Deliveries(state).dead_letters(NAME)
    assert (letter.delivery.id, letter.reason) == (poison, "poison")
    assert pending(state) == 0


def test_a_replayed_event_that_kills_every_process_takes_no_other_retry_with_it(state: redis.Redis) -> None:
    ids = publish(state, *range(6))
    run_until_idle(lane(state, WindowReceiver(refuse), subscription=SHORT), 1000.0)
    effects: set[str] = set()

    def answer(sent: Outgoing) -> Outcome:
        if sent.id == ids[2]:
            raise Killed
        effects.add(sent.id)
        return None

    limits = Limits(poison_after=3, lease=10.0, open_after=99)
    for life in range(12):
        receiver = WindowReceiver(answer)
        window_lane = lane(state, receiver, subscription=SHORT, consumer=str(life), limits=limits)
        try:
            run_until_idle(window_lane, 1100.0 + 20.0 * life)
        except Killed:
            continue
    assert effects == set(ids) - {ids[2]}
    (letter,) = Deliveries(state).dead_letters(NAME)
    assert (letter.delivery.id, letter.reason) == (ids[2], "poison")


def test_what_is_held_is_not_read_again_after_a_failure_of_the_state_server(state: redis.Redis) -> None:
    ids = publish(state, *range(30))
    receiver = WindowReceiver(lambda sent: HELD, concurrency=4)
    window_lane = lane(state, receiver)
    steps(window_lane, 1000.0)
    window_lane.recover()
    steps(window_lane, 1000.0)
    receiver.answer = lambda sent: None
    receiver.release()
    run_until_idle(window_lane, 1000.0)
    assert receiver.ids == ids
    assert pending(state) == 0


def test_results_that_came_while_the_state_server_was_away_are_settled_and_not_sent_again(
    state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = publish(state, *range(6))
    receiver = WindowReceiver(lambda sent: HELD)
    window_lane = lane(state, receiver)
    steps(window_lane, 1000.0)
    receiver.answer = lambda sent: None
    receiver.release()
    with monkeypatch.context() as patch:
        patch.setattr(window_lane, "_settle", lambda *_: (_ for _ in ()).throw(redis.ConnectionError("away")))
        for _ in range(3):
            with pytest.raises(Exception, match="away"):
                window_lane.step(at(1000.0), even)
            window_lane.recover()
    run_until_idle(window_lane, 1000.0)
    assert receiver.ids == ids
    assert Deliveries(state).state(NAME, now=1.0).delivered == 6
    assert pending(state) == 0


def test_the_rate_holds_for_all_processes_in_every_stretch_of_its_length(state: redis.Redis) -> None:
    publish(state, *range(100))
    subscription = Subscription(name=NAME, transport="http", rate=Rate(events=10, per=1.0))
    clock, sent = [1000.0], list[float]()
    lanes = [
        lane(
            state,
            WindowReceiver(lambda _: sent.append(clock[0])),  # type: ignore[func-returns-value]
            subscription=subscription,
            consumer=str(number),
        )
        for number in range(2)
    ]
    while len(sent) < 100:
        for each in lanes:
            each.step(lambda: clock[0], even)
        clock[0] += 0.03
        assert clock[0] < 1030.0
    assert max(sum(1 for other in sent if 0 <= other - moment < 1.0) for moment in sent) == 10
    assert clock[0] < 1012.0


def test_a_retry_that_waits_for_the_rate_is_given_back_before_its_claim_ends(state: redis.Redis) -> None:
    ids = publish(state, *range(4))
    run_until_idle(lane(state, WindowReceiver(refuse), subscription=SHORT), 1000.0)
    subscription = Subscription(name=NAME, transport="http", rate=Rate(events=1, per=60.0), retry=SHORT.retry)
    sent: Counter[str] = Counter()

    def answer(event: Outgoing) -> Outcome:
        sent[event.id] += 1
        return None

    both = [
        lane(state, WindowReceiver(answer), subscription=subscription, consumer=consumer, limits=Limits(lease=40.0))
        for consumer in ("one", "two")
    ]
    for moment in range(1005, 1405, 5):
        for each in both:
            steps(each, float(moment), 3)
    assert sent == Counter(ids)


def test_finish_settles_what_is_answered_and_leaves_the_rest_to_others(state: redis.Redis) -> None:
    ids = publish(state, *range(20))
    receiver = WindowReceiver(lambda sent: HELD, concurrency=4)
    window_lane = lane(state, receiver)
    steps(window_lane, 1000.0)
    receiver.answer = lambda sent: HELD if sent.id == ids[0] else None
    window_lane.finish(at(1000.0), even, within=0.05)
    receiver.release()
    window_lane.finish(at(1000.0), even, within=0.05)
    assert Deliveries(state).state(NAME, now=1.0).delivered == 3
    heir = WindowReceiver()
    heir_lane = lane(state, heir, consumer="two")
    heir_lane.step(at(1000.0), even)
    heir_lane.adopt(lambda consumer: False)
    run_until_idle(heir_lane, 1000.0)
    assert sorted(heir.ids) == sorted([ids[0], *ids[4:]])


# --- code that is broken on purpose


def settles_before_it_is_answered(patch: pytest.MonkeyPatch) -> None:
    original = WindowLane._start

    def start(self: Any, now: Any, limit: int) -> Any:
        entries = list(self._window.entries())
        if entries:
            self._client.xack(self._journal, self._group, *entries)
        return original(self, now, limit)

    patch.setattr(WindowLane, "_start", start)


def reads_again_what_it_holds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("workers.dispatch.window.Window.entries", lambda self: set())


def sends_the_events_of_an_attempt_beside_each_other(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("workers.dispatch.window.Slot.attempt", property(id))


def forgets_what_it_recalled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WindowLane, "_recall", lambda self, slots, now: None)


def forgets_results_that_could_not_be_settled(patch: pytest.MonkeyPatch) -> None:
    original = WindowLane._record

    def record(self: Any, *args: Any, **options: Any) -> None:
        try:
            original(self, *args, **options)
        finally:
            self._results = []

    patch.setattr(WindowLane, "_record", record)


def reports_a_pause_while_it_sends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("workers.dispatch.window.Window.sending", property(lambda self: 0))


def lets_retries_take_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WindowLane, "_retry_limit", lambda self, now: 10**6)


MUTANTS = [
    (lets_retries_take_everything, test_retries_leave_room_for_new_events_and_more_while_there_are_some, ()),
    (settles_before_it_is_answered, test_a_process_killed_at_any_point_loses_nothing, ("started",)),
    (reads_again_what_it_holds, test_what_is_held_is_not_read_again_after_a_failure_of_the_state_server, ()),
    (sends_the_events_of_an_attempt_beside_each_other, test_a_slow_answer_holds_up_only_its_own_attempt, ()),
    (forgets_what_it_recalled, test_a_pause_is_complete_when_nothing_is_under_way_any_more, ()),
    (
        forgets_results_that_could_not_be_settled,
        test_results_that_came_while_the_state_server_was_away_are_settled_and_not_sent_again,
        (pytest.MonkeyPatch(),),
    ),
    (reports_a_pause_while_it_sends, test_a_pause_is_complete_when_nothing_is_under_way_any_more, ()),
]


@pytest.mark.parametrize(("mutant", "test", "arguments"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_code_that_is_broken_on_purpose_is_caught(
    mutant: Any, test: Any, arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, state: redis.Redis
) -> None:
    test(state, *arguments)
    state.flushall()
    mutant(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(state, *arguments)
