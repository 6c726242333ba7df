"""Failure groups: which failures are one kind, and that the groups always say what is failing and dead."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bridge.config.model import Retention as RetentionConfig
from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.group_store import FailureGroups
from bridge.delivery.groups import ACKNOWLEDGED, FIXED, OPEN, OTHER, FailureGroup, fingerprint, merged, normalised
from bridge.delivery.history import History
from bridge.delivery.retention import DeliveryRetention
from bridge.delivery.store import Deliveries
from bridge.errors import DeliveryFailed
from bridge.state import keys, scripts
from tests.support.dispatch import Receiver, lane, publish, replay_all, replay_one, run_until_idle, scheduled
from workers.transports.contract import Outcome, Outgoing

NAME = "crm"
CRM = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(5.0, 5.0), jitter=0.0))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("receiver answered 500", "receiver answered 500"),
        ("no task id 4f8a1c52-9a7d-5b1e-8d6e-0c9a3b2f1e00", "no task id 0a0b1c52-9a7d-5b1e-8d6e-0c9a3b2f1e00"),
        ("connect to 10.0.0.1:443 timed out after 5.0 s", "connect to 10.0.0.27:8443 timed out after 5.02 s"),
        ('queue "a" is full', 'queue "b" is full'),
        ("  many   blanks ", "many blanks"),
    ],
)
def test_failures_that_differ_in_ids_numbers_and_quoted_texts_are_of_one_kind(first: str, second: str) -> None:
    assert fingerprint("receiver_error", 500, first) == fingerprint("receiver_error", 500, second)


def test_failures_that_differ_in_reason_status_or_words_are_of_different_kinds() -> None:
    kinds = [
        ("receiver_error", 500, "receiver answered 500"),
        ("receiver_error", 502, "receiver answered 502"),
        ("receiver_refused", 500, "receiver answered 500"),
        ("receiver_error", None, "receiver answered 500"),
        ("receiver_error", 500, "receiver hung up"),
    ]
    assert len({fingerprint(*kind) for kind in kinds}) == len(kinds)
    assert len(normalised("word " * 500)) <= 200


def part(**members: Any) -> FailureGroup:
    plain: dict[str, Any] = {"fingerprint": "abc", "reason": "r", "status": 500, "message": "m", "state": OPEN}
    plain |= {"since": 5.0, "failing": 1, "dead": 2, "failures": 4, "first": 1.0, "last": 9.0, "example": "e"}
    return FailureGroup(**plain | {"acknowledged": 0, "reopened": 1} | members)


def test_the_parts_of_a_group_in_several_partitions_are_one_group() -> None:
    whole = merged([part(), part(state=FIXED, failing=0, dead=0, since=8.0, last=11.0, example="f", first=0.5)])
    assert (whole.failing, whole.dead, whole.failures, whole.count) == (1, 2, 8, 3)
    assert (whole.state, whole.since, whole.first, whole.last, whole.example) == (OPEN, 5.0, 0.5, 11.0, "f")
    assert merged([part(state=ACKNOWLEDGED), part(state=FIXED)]).state == ACKNOWLEDGED


def test_a_group_of_a_later_version_is_read_and_one_that_is_not_whole_is_not_listed(state: redis.Redis) -> None:
    failing(state, 1)
    groups = FailureGroups(Deliveries(state))
    (group,) = groups.of(NAME)
    stored = json.loads(state.hget(keys.failure_groups(NAME), group.fingerprint) or b"")
    state.hset(keys.failure_groups(NAME), group.fingerprint, json.dumps(stored | {"colour": "blue"}))
    state.hset(keys.failure_groups(NAME), "broken", "{}")
    assert groups.of(NAME) == [group]


def says(kind: str) -> Callable[[Outgoing], Outcome]:
    return lambda sent: DeliveryFailed(f"receiver said {kind}", reason="receiver_error", about_event=True)


def failing(state: redis.Redis, *numbers: int, kind: str = "no", moment: float = 1000.0) -> list[str]:
    """Events that have failed once; returns their ids."""
    ids = publish(state, *numbers)
    run_until_idle(lane(state, Receiver(says(kind)), subscription=CRM), moment)
    return ids


def test_a_group_counts_its_deliveries_and_is_fixed_when_the_last_one_succeeds(state: redis.Redis) -> None:
    ids = failing(state, 1, 2)
    groups = FailureGroups(Deliveries(state))
    (group,) = groups.of(NAME)
    assert (group.state, group.failing, group.dead, group.failures) == (OPEN, 2, 0, 2)
    assert (group.reason, group.status, group.message) == ("receiver_error", None, "receiver said no")
    assert (group.first, group.last, group.since) == (1000.0, 1000.0, 1000.0)
    assert group.example in ids
    run_until_idle(lane(state, Receiver(), subscription=CRM), 1005.0)
    (group,) = groups.of(NAME)
    assert (group.state, group.count, group.since, group.reopened) == (FIXED, 0, 1005.0, 0)
    failing(state, 3, moment=1010.0)
    (group,) = groups.of(NAME)
    assert (group.state, group.count, group.since, group.reopened) == (OPEN, 1, 1010.0, 1)


@pytest.mark.parametrize("stored", ["", "not JSON", "[1]", "{}", '{"first":1}'])
def test_a_group_that_nobody_can_read_stops_no_delivery(state: redis.Redis, stored: str) -> None:
    failing(state, 1)
    (name,) = [name.decode() for name in state.hkeys(keys.failure_groups(NAME))]
    state.hset(keys.failure_groups(NAME), name, stored)
    (event,) = failing(state, 2)
    (failed,) = [group.failures for group in FailureGroups(Deliveries(state)).of(NAME) if group.fingerprint == name]
    assert (failed, event) == (1, event)


def test_a_counter_that_an_earlier_version_has_not_written_is_zero(state: redis.Redis) -> None:
    failing(state, 1)
    ((name, text),) = state.hgetall(keys.failure_groups(NAME)).items()
    group = json.loads(text)
    del group["reopened"], group["failures"]
    state.hset(keys.failure_groups(NAME), name, json.dumps(group))
    failing(state, 2)
    (now,) = FailureGroups(Deliveries(state)).of(NAME)
    assert (now.reopened, now.failures, now.failing) == (0, 1, 2)


def test_an_acknowledged_group_is_muted_until_it_has_grown(state: redis.Redis) -> None:
    failing(state, *range(12))
    groups = FailureGroups(Deliveries(state))
    (group,) = groups.of(NAME)
    assert groups.acknowledge(NAME, group.fingerprint, now=1001.0) == OPEN
    failing(state, *range(12, 23), moment=1002.0)
    (group,) = groups.of(NAME)
    assert (group.state, group.count, group.acknowledged) == (ACKNOWLEDGED, 23, 12)
    failing(state, 23, moment=1003.0)
    (group,) = groups.of(NAME)
    assert (group.state, group.count, group.reopened) == (OPEN, 24, 1)
    assert groups.acknowledge(NAME, group.fingerprint, now=1004.0) == OPEN
    assert groups.reopen(NAME, group.fingerprint, now=1005.0) == ACKNOWLEDGED
    assert groups.acknowledge(NAME, "ffffffffffff", now=1005.0) == ""


@pytest.mark.long
def test_more_kinds_of_failures_than_are_kept_share_one_group(state: redis.Redis) -> None:
    words = [f"{first}{second}" for first in "abcdefghijk" for second in "lmnopqrstu"]
    for number, word in enumerate(words):
        failing(state, number, kind=word)
    groups = {group.fingerprint: group for group in FailureGroups(Deliveries(state)).of(NAME)}
    assert len(groups) == 101
    assert groups[OTHER].failing == len(words) - 100
    assert sum(group.failing for group in groups.values()) == len(words)


def test_the_dead_letters_of_a_group_are_listed_replayed_and_discarded_alone(state: redis.Redis) -> None:
    never = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=()))
    for kind, numbers in (("no", range(250)), ("never", range(250, 255))):
        publish(state, *numbers)
        run_until_idle(lane(state, Receiver(says(kind), batch=50), subscription=never), 1000.0)
    deliveries = Deliveries(state)
    groups = FailureGroups(deliveries)
    by_message = {group.message: group for group in groups.of(NAME)}
    no, dead_for_ever = by_message["receiver said no"], by_message["receiver said never"]
    assert [each.dead for each in (no, dead_for_ever)] == [250, 5]
    assert len(set(groups.letter_ids(NAME, no.fingerprint))) == 250
    assert groups.discard(NAME, dead_for_ever.fingerprint, now=1001.0) == 5
    assert replay_all(deliveries, NAME, now=1002.0, group=no.fingerprint) == 250
    assert list(deliveries.dead_letters(NAME)) == []
    assert {group.state for group in groups.of(NAME)} == {FIXED}
    assert groups.forget_fixed(NAME, before=1002.5) == 2
    assert groups.of(NAME) == []


def test_dead_letters_of_an_earlier_version_join_their_group_once(state: redis.Redis) -> None:
    stream = keys.dead(NAME)
    for number in range(3):
        record = {"id": f"e{number}", "type": "t", "source": "s", "attempt": "a", "entry": "1-1", "error": "no answer"}
        fields = {"id": f"e{number}", "event": "{}", "reason": "timeout", "at": "900", "delivery": json.dumps(record)}
        state.xadd(stream, fields)
    deliveries = Deliveries(state)
    groups = FailureGroups(deliveries)
    assert groups.index_letters(NAME, now=1000.0) == 3
    assert groups.index_letters(NAME, now=1001.0) == 0
    (group,) = groups.of(NAME)
    assert (group.dead, group.reason, group.message) == (3, "timeout", "no answer")
    letter = History(state).dead_letter(NAME, "e1")
    assert letter is not None
    assert deliveries.discard(NAME, [letter.id, letter.id], now=1002.0) == 1
    assert groups.of(NAME)[0].dead == 2
    assert replay_all(deliveries, NAME, now=1003.0, group=group.fingerprint) == 2
    assert state.zcard(keys.letter_index(NAME)) == 0


def test_what_retention_removes_is_counted_and_nothing_else_removes_dead_letters(state: redis.Redis) -> None:
    never = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=()))
    publish(state, *range(230))
    run_until_idle(lane(state, Receiver(says("no"), batch=50), subscription=never), 1000.0)
    retention, deliveries = DeliveryRetention(Deliveries(state)), Deliveries(state)
    newest = next(deliveries.dead_letters(NAME))
    stored_at = int(newest.id.partition(":")[2].partition("-")[0]) / 1000
    keep = RetentionConfig(dead_letters=100.0)
    assert retention.run(keep, [NAME], now=stored_at).dead_letters == 0
    assert retention.run(keep, [NAME], now=stored_at + 101.0).dead_letters == 230
    assert deliveries.state(NAME, now=1.0).expired == 230
    assert (state.xlen(keys.dead(NAME)), state.zcard(keys.letter_index(NAME))) == (0, 0)
    assert [group.state for group in FailureGroups(deliveries).of(NAME)] == [FIXED]


# --- any order of failures, successes and operators


class Groups(RuleBasedStateMachine):
    """One lane whose receiver says what it is told to. The groups must say what the records and letters say."""

    @initialize()
    def begin(self) -> None:
        self.state = fakeredis.FakeRedis(version=(7, 0))
        self.deliveries = Deliveries(self.state)
        self.groups, self.history = FailureGroups(self.deliveries), History(self.state)
        self.moment, self.published = 1000.0, 0
        self.before: dict[str, FailureGroup] = {}

    def run(self, kind: str | None) -> None:
        receiver = Receiver(None if kind is None else says(kind))
        run_until_idle(lane(self.state, receiver, subscription=CRM), self.moment)

    @rule(number=st.integers(1, 4), kind=st.sampled_from([None, "no", "never"]))
    def publish(self, number: int, kind: str | None) -> None:
        publish(self.state, *range(self.published, self.published + number))
        self.published += number
        self.run(kind)

    @rule(kind=st.sampled_from([None, "no", "never"]))
    def wait(self, kind: str | None) -> None:
        self.moment += 5.0
        self.run(kind)

    @precondition(lambda self: scheduled(self.state, NAME))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from([each.id for each in scheduled(self.state, NAME)]))
        assert self.deliveries.cancel(NAME, chosen, now=self.moment) == "done"

    @precondition(lambda self: self.state.xlen(keys.dead(NAME)))
    @rule(data=st.data(), replay=st.booleans())
    def end_a_letter(self, data: st.DataObject, replay: bool) -> None:
        letter = data.draw(st.sampled_from(list(self.deliveries.dead_letters(NAME))))
        if replay:
            assert replay_one(self.deliveries, NAME, letter, now=self.moment)
        else:
            assert self.deliveries.discard(NAME, [letter.id], now=self.moment) == 1

    @precondition(lambda self: self.groups.of(NAME))
    @rule(data=st.data(), what=st.sampled_from(["acknowledge", "reopen", "replay", "discard"]))
    def operate(self, data: st.DataObject, what: str) -> None:
        group = data.draw(st.sampled_from(self.groups.of(NAME)))
        if what == "replay":
            replay_all(self.deliveries, NAME, now=self.moment, group=group.fingerprint)
        else:
            getattr(self.groups, what)(NAME, group.fingerprint, now=self.moment)

    @invariant()
    def the_groups_say_what_is_there(self) -> None:
        waiting = [each.id for each in scheduled(self.state, NAME)]
        failing = Counter(self.history.groups_of(NAME, 0, waiting).values())
        letters = list(self.deliveries.dead_letters(NAME, limit=None))
        dead = Counter(letter.group for letter in letters)
        groups = {group.fingerprint: group for group in self.groups.of(NAME)}
        assert {name: group.failing for name, group in groups.items() if group.failing} == failing
        assert {name: group.dead for name, group in groups.items() if group.dead} == dead
        for name, group in groups.items():
            assert (group.state == FIXED) == (group.count == 0)
            assert set(self.groups.letter_ids(NAME, name)) == {each.id for each in letters if each.group == name}
            old = self.before.get(name)
            if old is not None and old.state == FIXED and group.state != FIXED:
                assert (group.state, group.reopened) == (OPEN, old.reopened + 1)
        assert set(self.state.hkeys(keys.tries(NAME))) <= set(self.state.hkeys(keys.deliveries(NAME)))
        self.before = groups


def test_in_any_order_the_groups_say_what_is_failing_and_dead() -> None:
    examples = max(5, settings.default.max_examples // 5) if settings.default else 20
    run_state_machine_as_test(Groups, settings=settings(max_examples=examples, stateful_step_count=12, deadline=None))


def walk() -> None:
    """One life in which everything happens to a group once."""
    world = Groups()
    world.begin()

    def end_letters(replay: bool) -> None:
        for letter in list(world.deliveries.dead_letters(NAME))[:2]:
            if replay:
                replay_one(world.deliveries, NAME, letter, now=world.moment)
            else:
                world.deliveries.discard(NAME, [letter.id], now=world.moment)

    failures: list[tuple[int, str | None]] = [(3, "no"), (0, "never"), (0, None), (5, "no"), (0, "no"), (0, "no")]
    for number, kind in failures:
        publish(world.state, *range(world.published, world.published + number))
        world.published += number
        world.moment += 5.0
        world.run(kind)
        world.the_groups_say_what_is_there()
    for replay in (True, False, False):
        end_letters(replay)
        world.the_groups_say_what_is_there()


LEAVES = "if before ~= NO_GROUP then leave(before, 'failing', now) end"
#: What is done wrongly: (script, its text, the text of the mutant).
MUTANTS = {
    "a delivery stays in its old group": (
        "outcomes",
        f"{LEAVES}\n  redis.call('HSET', tries, id, group",
        "redis.call('HSET', tries, id, group",
    ),
    "a delivery that ended stays": (
        "outcomes",
        f"{LEAVES}\n  redis.call('ZREM', retry, id)",
        "redis.call('ZREM', retry, id)",
    ),
    "a dead letter that is removed stays": (
        "outcomes",
        "== 1 then leave(group, 'dead', now) end",
        "== 1 then return fields end",
    ),
    "a fixed group stays fixed": ("outcomes", "if group.state == 'fixed' or", "if"),
    "an empty group stays open": ("outcomes", "set_state(group, 'fixed', now) end", "end"),
    "a dead letter keeps its tries": (
        "settle",
        "finish(id, now)\n    if entry",
        "redis.call('HDEL', deliveries, id)\n    redis.call('ZREM', retry, id)\n    if entry",
    ),
    "a replay is not counted": ("replay_batch", "save_groups()\n", ""),
}


def test_a_group_is_kept_rightly_throughout_the_walk() -> None:
    walk()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_group_that_is_kept_wrongly_is_found(monkeypatch: pytest.MonkeyPatch, mutant: str) -> None:
    script, old, new = MUTANTS[mutant]
    original = scripts.read

    def read(path: Path) -> str:
        text = original(path)
        if path.stem == script:
            assert old in text, "the mutant no longer fits the script"
            return text.replace(old, new)
        return text

    monkeypatch.setattr(scripts, "read", read)
    with pytest.raises(AssertionError):
        walk()
