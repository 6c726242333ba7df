"""The number of partitions changes while everything is published: nothing is lost, nothing twice, whoever is killed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path

import pytest
import redis

from bridge.config.model import BridgeConfig
from bridge.errors import StateUnavailable
from bridge.ingest import notices
from bridge.journal import POLL, WEBHOOK, Entry, Journal, RequestRecord
from bridge.journal.memories import MoveMemories
from bridge.journal.reading import Reader
from bridge.services import Services
from bridge.state import keys
from bridge.state.partitions import Spread, partition_of_field, read_spread
from bridge.state.repartition import DONE, RUNNING, STOPPED, Repartition
from tests.support.journal import NOW, make_submission, outcomes
from tests.support.mutants import change_script
from tests.support.watches_api import build
from workers.dispatch import repartition
from workers.dispatch.repartition import CRASH_POINTS, RepartitionRunner

#: Partitions that the processes serve.
SERVED = 4
NAMES, NOTICES = [f"link:{number}" for number in range(200)], 30
BRIDGE = BridgeConfig(name="acme", public_url="https://bridge.example.test")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    made = build(state, tmp_path)
    return replace(made, config=replace(made.config, bridge=replace(made.config.bridge, partitions=SERVED)))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repartition, "_BUCKETS", 1)


def begin(state: redis.Redis, before: int, after: int, layout: int = 3) -> Journal:
    """A state of `before` partitions whose number changes now; the journal that has published all attempts before."""
    state.hset(keys.BRIDGE, mapping={"name": "acme", "partitions": str(before), "layout": str(layout)})
    journal = process(state)
    assert set(publish(journal)) == {"published"}
    assert Repartition(state, configured=before).begin(after, now=NOW)
    return journal


def process(state: redis.Redis) -> Journal:
    """The journal of a process."""
    return Journal(state, partitions=SERVED)


def publish(journal: Journal, score: int = 1, origin: str = POLL) -> list[str]:
    submissions = [make_submission(name, score, order=score, origin=origin) for name in NAMES]
    for name in NAMES[:NOTICES]:
        notice = notices.consent_withdrawn(key=name, number=1, at=NOW, subject={}, attempts_voided=0)
        submissions.append(notices.submission(BRIDGE, "eu", "classmarker", notice, now=NOW))
    all_outcomes = []
    for start in range(0, len(submissions), 50):
        all_outcomes += outcomes(journal, *submissions[start : start + 50])
    return all_outcomes


def finish(services: Services, crash: Callable[[str], None] = lambda point: None) -> None:
    runner = RepartitionRunner(services, "one", crash=crash)
    store = Repartition(services.state, configured=SERVED)
    for _ in range(1000):
        if store.read().state != RUNNING:
            return
        runner.step(lambda: NOW)
    raise AssertionError("still moving")


def doubles(state: redis.Redis) -> dict[str, int]:
    numbers = Counter(event.id for event in Reader(state, partitions=SERVED).events())
    return {ident: number for ident, number in numbers.items() if number > 1}


def check(state: redis.Redis, revisions: int = 1) -> None:
    """Everything once, remembered where it belongs and nowhere else, and found."""
    assert doubles(state) == {}
    reader = Reader(state, partitions=SERVED)
    memories = reader.attempts("eu", NAMES)
    assert {memory.revision for memory in memories.values()} == {revisions}
    assert memories.keys() == set(NAMES)
    assert all(reader.newest_event("eu", name, memory) is not None for name, memory in memories.items())
    spread = read_spread(state, configured=SERVED)
    assert spread is not None
    wrong = [field for partition, field in fields(state) if partition != partition_of_field(field, spread.partitions)]
    assert wrong == []
    assert len({spread.home("eu", name) for name in NAMES} & set(fields(state))) == len(NAMES)


def fields(state: redis.Redis) -> Iterator[tuple[int, bytes]]:
    """(partition, field) of everything remembered."""
    for partition in range(SERVED):
        for number in range(int(state.hget(keys.seen(partition), "b") or 0)):  # type: ignore[arg-type]
            remembered = state.hkeys(f"{keys.seen(partition)}:{number}")
            yield from ((partition, field) for field in remembered if len(field) == 16)  # type: ignore[union-attr]


@pytest.mark.parametrize(("before", "after", "layout"), [(1, 3, 3), (3, 2, 3), (2, 4, 3), (1, 4, 2), (4, 3, 2)])
def test_everything_is_remembered_in_its_new_partition_and_what_is_new_is_published_once(
    state: redis.Redis, services: Services, before: int, after: int, layout: int
) -> None:
    old = begin(state, before, after, layout)
    assert set(publish(old)) == {"duplicate"}
    finish(services)
    assert Repartition(state, configured=SERVED).read().state == DONE
    for journal in (old, process(state)):
        assert set(publish(journal)) == {"duplicate"}
    assert set(publish(old, 2)) == {"revised", "duplicate"}
    check(state, 2)
    previous = [event.event for event in Reader(state, partitions=SERVED).events(event_type="attempt.revised")]
    assert all(b'"previous": 1' in event for event in previous)


def test_who_still_knows_the_old_partitions_is_refused_and_loads_them_again(
    state: redis.Redis, services: Services
) -> None:
    old, reader = process(state), Reader(state, partitions=SERVED)
    state.hset(keys.BRIDGE, mapping={"name": "acme", "partitions": "2", "layout": "3"})
    publish(old)
    assert len(reader.attempts("eu", NAMES)) == len(NAMES)
    begin_at = Repartition(state, configured=2)
    assert begin_at.begin(4, now=NOW)
    finish(services)
    assert len(reader.attempts("eu", NAMES)) == len(NAMES)
    assert set(publish(old)) == {"duplicate"}
    assert begin_at.begin(3, now=NOW)
    assert not begin_at.begin(2, now=NOW)
    finish(services)
    assert set(publish(old)) == {"duplicate"}
    check(state)


def test_a_request_of_which_one_partition_alone_is_refused_is_stored_once(state: redis.Redis) -> None:
    old = begin(state, 2, 4)
    outcomes(process(state), make_submission(NAMES[0]))
    request = RequestRecord(id="r", source="eu", received_at=NOW, headers={}, body=b"{}")
    submissions = tuple(make_submission(name) for name in NAMES[:20])
    assert old.publish(Entry(submissions=submissions, request=request), now=NOW).outcome == "duplicate"
    assert sum(state.xlen(keys.requests(partition)) for partition in range(SERVED)) == 1


def test_the_mover_may_be_killed_between_any_two_effects(state: redis.Redis, services: Services) -> None:
    begin(state, 2, 3)
    died: Counter[str] = Counter()
    points = cycle(CRASH_POINTS)
    for attempt in count():
        point = next(points)

        def crash(reached: str, point: str = point) -> None:
            if reached == point and (point != "leased" or not died[point]):
                died[point] += 1
                raise Killed

        try:
            finish(services, crash)
        except Killed:
            state.delete(keys.lease("partitions"))
            outcomes(process(state), *(make_submission(name) for name in NAMES[attempt % 5 :: 5]))
            continue
        break
    assert set(died) == set(CRASH_POINTS)
    check(state)


def test_a_move_can_be_stopped_and_goes_on_where_it_was(state: redis.Redis, services: Services) -> None:
    begin(state, 2, 3)
    store, runner = Repartition(state, configured=SERVED), RepartitionRunner(services, "one")
    for _ in range(3):
        assert runner.step(lambda: NOW) == 0.0
    assert store.change(RUNNING, STOPPED)
    assert not store.change(RUNNING, STOPPED)
    at = store.read()
    assert (runner.step(lambda: NOW), store.read()) == (1.0, at)
    assert (at.before, at.partitions, at.width) == (2, 3, 3)
    assert at.moved > 0
    assert set(publish(process(state))) == {"duplicate"}
    assert store.change(STOPPED, RUNNING)
    finish(services)
    check(state)


def storm(state: redis.Redis, services: Services, changes: tuple[int, ...] = (4, 2, 3)) -> None:
    """Several processes publish all the time, by both paths, while the number changes again and again."""
    begin(state, 1, 3)
    stop, faults = threading.Event(), list[BaseException]()

    def run(journal: Journal, origin: str, scores: Iterator[int]) -> None:
        try:
            while not stop.is_set():
                publish(journal, next(scores), origin)
        except BaseException as error:  # noqa: BLE001 - the test shows it
            faults.append(error)

    # One process finds later results, two repeat what is known.
    threads = [
        threading.Thread(target=run, args=(process(state), origin, scores))
        for origin, scores in ((POLL, iter(range(2, 10_000))), (WEBHOOK, cycle([1])), (POLL, cycle([1])))
    ]
    for thread in threads:
        thread.start()
    try:
        finish(services)
        for number in changes:
            assert Repartition(state, configured=SERVED).begin(number, now=NOW)
            finish(services)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert faults == []
    assert doubles(state) == {}


def test_nothing_is_lost_or_doubled_while_processes_publish(state: redis.Redis, services: Services) -> None:
    storm(state, services)
    last = Reader(state, partitions=SERVED).attempts("eu", NAMES)[NAMES[0]].revision
    publish(process(state), last + 1)
    check(state, last + 1)
    events = Counter(event.type for event in Reader(state, partitions=SERVED).events())
    assert events == {
        "attempt.completed": len(NAMES),
        "attempt.revised": len(NAMES) * last,
        "consent.withdrawn": NOTICES,
    }


def deletes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What moves is added only after it was deleted."""
    plain = MoveMemories._run

    def run(self: MoveMemories, script: object, partition: int, spread: Spread, args: object) -> object:
        if script is self._leaving:
            reply = plain(self, script, partition, spread, args)  # type: ignore[arg-type]
            if reply[1:]:
                plain(self, self._drop, partition, spread, reply[1::2])
            return reply
        return plain(self, script, partition, spread, args)  # type: ignore[arg-type]

    monkeypatch.setattr(MoveMemories, "_run", run)


def ignores_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    change_script(monkeypatch, "buckets", "if epoch < known then", "if false then")


def overwrites_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    change_script(monkeypatch, "add_memories", "call('HSETNX'", "call('HSET'")


def looks_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spread, "earlier", lambda *_: [])


def script_of(services: Services, state: redis.Redis) -> None:
    """What each mutant must not survive, without threads: old and new processes in turn, a mover that dies often."""
    old, fresh = begin(state, 1, 3), process(state)
    died = 0

    def crash(point: str) -> None:
        nonlocal died
        if point in ("read", "added") and died < 8:
            died += 1
            raise Killed

    for score in range(2, 20):
        try:
            finish(services, crash)
        except Killed:
            state.delete(keys.lease("partitions"))
            publish(fresh, score)
            publish(old, score)
            continue
        break
    publish(old, 1)
    check(state, read_revision(state))


def read_revision(state: redis.Redis) -> int:
    return Reader(state, partitions=SERVED).attempts("eu", NAMES)[NAMES[0]].revision


def test_a_mover_that_dies_beside_processes_that_publish_loses_nothing(state: redis.Redis, services: Services) -> None:
    script_of(services, state)


MUTANTS = (deletes_first, ignores_the_epoch, overwrites_what_is_there, looks_nowhere_else)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.__name__)
def test_a_move_that_is_broken_on_purpose_is_caught(
    state: redis.Redis,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    mutant: Callable[[pytest.MonkeyPatch], None],
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        script_of(services, state)


def test_an_end_that_a_failover_has_lost_is_said_again(state: redis.Redis, services: Services) -> None:
    begin(state, 2, 3)
    store = Repartition(state, configured=SERVED)
    before = state.hgetall(keys.BRIDGE)
    finish(services)
    assert set(publish(process(state))) == {"duplicate"}
    ended = store.read().epoch
    state.hset(keys.BRIDGE, mapping=before)  # type: ignore[arg-type]
    with pytest.raises(StateUnavailable, match="STALE epoch 1, the partitions have 2"):
        publish(process(state))
    finish(services)
    assert (store.read().epoch, store.read().state) == (ended, DONE)
    assert set(publish(process(state))) == {"duplicate"}
    check(state)


def test_a_begin_that_a_failover_has_lost_is_given_again(state: redis.Redis, services: Services) -> None:
    before = {"name": "acme", "partitions": "2", "layout": "3"}
    begin(state, 2, 3)
    assert set(publish(process(state))) == {"duplicate"}
    state.delete(keys.BRIDGE)
    state.hset(keys.BRIDGE, mapping=before)
    with pytest.raises(StateUnavailable, match="STALE epoch 0, the partitions have 1"):
        publish(process(state))
    assert Repartition(state, configured=SERVED).begin(3, now=NOW)
    finish(services)
    assert set(publish(process(state))) == {"duplicate"}
    check(state)


def next_change(state: redis.Redis, services: Services) -> None:
    """Another mover ends the change of one that paused, and an operator begins the next."""
    state.delete(keys.lease("partitions"))
    finish(services)
    assert Repartition(state, configured=SERVED).begin(2, now=NOW)


def test_a_mover_that_paused_until_the_next_change_leaves_its_position_alone(
    state: redis.Redis, services: Services
) -> None:
    begin(state, 1, 3)
    paused: list[str] = []

    def crash(point: str) -> None:
        if point == "dropped" and not paused:
            paused.append(point)
            next_change(state, services)

    RepartitionRunner(services, "paused", crash=crash).step(lambda: NOW)
    finish(services)
    assert paused
    assert set(publish(process(state))) == {"duplicate"}


def test_a_mover_that_paused_until_the_next_change_does_not_end_it(state: redis.Redis, services: Services) -> None:
    begin(state, 1, 3)
    store, mover, paused = Repartition(state, configured=SERVED), RepartitionRunner(services, "slow"), list[str]()
    while (at := store.read()).partition < (at.before or 0):
        mover.step(lambda: NOW)
    mover.leave()

    def crash(point: str) -> None:
        if point == "leased" and not paused:
            paused.append(point)
            next_change(state, services)

    RepartitionRunner(services, "paused", crash=crash).step(lambda: NOW)
    assert paused
    assert store.read().state == RUNNING
    finish(services)
    assert set(publish(process(state))) == {"duplicate"}
