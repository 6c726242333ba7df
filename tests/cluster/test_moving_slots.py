"""Slots move from one server of a cluster to another while attempts are published: each is published once."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from bridge.errors import StateUnavailable
from bridge.journal import POLL, Entry, Journal
from bridge.journal.reading import Reader
from bridge.state import keys
from tests.support.cluster import Cluster, running_cluster
from tests.support.journal import NOW, make_submission, outcomes
from tests.support.mutants import change_script
from tests.support.waiting import until

#: Attempts that are remembered before anything moves.
KNOWN = 2000
JOURNAL = keys.journal(0)
Move = Callable[[Cluster], None]


@pytest.fixture(scope="module")
def moving(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("moving"), primaries=2, options=("--appendonly", "no")) as cluster:
        yield cluster


@pytest.fixture
def cluster(moving: Cluster) -> Cluster:
    moving.client().flushall()
    return moving


def move_slowly(cluster: Cluster) -> None:
    source, target = cluster.holder(JOURNAL), cluster.other_than(JOURNAL)
    cluster.begin_move(JOURNAL, target)
    cluster.end_move(JOURNAL, source, target, first=f"{keys.seen(0)}:".encode(), pause=0.01)


def move_at_once(cluster: Cluster) -> None:
    cluster.move(JOURNAL, cluster.other_than(JOURNAL))


def publish(journal: Journal, numbers: Sequence[int]) -> None:
    outcomes(journal, *(make_submission(f"link:{number}", origin=POLL) for number in numbers))


def events_of(client: redis.Redis) -> Counter[str]:
    """Attempt -> its events in the journal."""
    return Counter(event.attempt for event in Reader(client).events(newest_first=False))


class Publishers:
    """Threads that publish known attempts again, and new ones, until the end of `with`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._stop = cluster, threading.Event()
        self._new = itertools.count(KNOWN)
        self.published: set[str] = set()
        self.calls = self.refused = self.failed = 0
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._run, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _run(self, seed: int) -> None:
        draw, journal = random.Random(seed), Journal(self._cluster.client(retries=1))
        while not self._stop.is_set():
            number = next(self._new) if draw.random() < 0.3 else draw.randrange(KNOWN)
            submission = make_submission(f"link:{number}", origin=POLL)
            try:
                (result,) = journal.publish(Entry(submissions=(submission,)), now=NOW).results
            except StateUnavailable as error:
                self.refused += 1
                self.failed += "non local key" in str(error)
                continue
            with self._lock:
                self.calls += 1
                if result.outcome == "published":
                    self.published.add(submission.attempt_id)


def publish_through(
    cluster: Cluster, move: Move, times: int, *, calls_between: int = 50
) -> tuple[int, int, Publishers]:
    """(attempts published twice, acknowledged and not in the journal, the publishers)."""
    client = cluster.client(retries=1)
    publish(Journal(client), range(KNOWN))
    publishers = Publishers(cluster)
    with publishers.running():
        for _ in range(times):
            move(cluster)
            calls = publishers.calls
            until(lambda calls=calls: publishers.calls >= calls + calls_between)
    events = events_of(client)
    acked = publishers.published | {f"link:{number}" for number in range(KNOWN)}
    return sum(number - 1 for number in events.values()), len(acked - set(events)), publishers


@pytest.mark.parametrize(("move", "times"), [(move_slowly, 3), (move_at_once, 4)], ids=["slowly", "at once"])
def test_each_attempt_is_published_once_while_its_slot_moves(
    cluster: Cluster, record_property: Callable[[str, object], None], move: Move, times: int
) -> None:
    doubled, lost, publishers = publish_through(cluster, move, times)
    line = f'{{"calls": {publishers.calls}, "refused": {publishers.refused}, "doubled": {doubled}, "lost": {lost}}}'
    record_property("faults", line)
    assert (doubled, lost, publishers.failed) == (0, 0, 0)


def test_if_every_key_that_the_script_declares_were_there_it_would_fail_half_way_in_a_slow_move(
    starts_servers: None, tmp_path: Path
) -> None:
    """A server refuses a script of whose keys some are missing while their slot moves: publish_once names one that
    never exists. Otherwise it begins, and fails at the first key that has moved: behind the event, before its memory.
    """

    def move(cluster: Cluster) -> None:
        # What was begun anew at one server cannot move to where it is already.
        with suppress(redis.ResponseError):
            move_slowly(cluster)

    with running_cluster(tmp_path / "cluster", primaries=2, options=("--appendonly", "no")) as cluster:
        client = cluster.client()
        client.xadd(keys.requests(0), {"id": "r"})
        client.hset(keys.event_ids(0), "there", "is one")
        _, _, publishers = publish_through(cluster, move, 1, calls_between=0)
    assert publishers.failed > 0


ATTEMPTS = range(350)
REMEMBERED = ATTEMPTS[:300]


def publish_ahead_of_buckets(cluster: Cluster, away: Callable[[int], Sequence[int]]) -> tuple[Counter[str], list[str]]:
    """Attempts, known and new, at the server that is getting their slot, when it has everything but some buckets:
    (attempt -> its events, what refused calls were told).

    That server answers for a key that is still to come as if nobody had it. `away`: which of so many buckets are.
    """
    client = cluster.client()
    client.xadd(keys.requests(0), {"id": "r"})
    client.hset(keys.event_ids(0), "there", "is one")
    journal, refused = Journal(client), list[str]()
    publish(journal, REMEMBERED)
    missing = [f"{keys.seen(0)}:{number}" for number in away(int(client.hget(keys.seen(0), "b")))]  # type: ignore[arg-type]
    source, target = cluster.holder(JOURNAL), cluster.other_than(JOURNAL)
    cluster.begin_move(JOURNAL, target)
    cluster.move_keys(source, target, {name.decode() for name in cluster.names(JOURNAL, source)} - {*missing})
    for number in ATTEMPTS:
        try:
            publish(journal, [number])
        except StateUnavailable as error:
            refused.append(str(error))
    # Without the guard both servers have a bucket of one name by now (BUSYKEY).
    with suppress(redis.ResponseError):
        cluster.end_move(JOURNAL, source, target)
        publish(journal, ATTEMPTS)
    events = events_of(client)
    cluster.give_up_move(JOURNAL)
    return events, refused


def all_of(buckets: int) -> Sequence[int]:
    return range(buckets)


def next_to_split(buckets: int) -> Sequence[int]:
    return [buckets - 4]


AHEAD = pytest.mark.parametrize(
    ("away", "script", "guard"),
    [
        (all_of, "publish_once", "call('HEXISTS', bucket, MARK) == 0"),
        (next_to_split, "buckets", "not is_here"),
    ],
    ids=["all buckets", "the bucket to split"],
)


@AHEAD
def test_a_bucket_that_is_still_to_come_is_refused_though_its_server_has_every_declared_key(
    cluster: Cluster, away: Callable[[int], Sequence[int]], script: str, guard: str
) -> None:
    events, refused = publish_ahead_of_buckets(cluster, away)
    assert events == {f"link:{number}": 1 for number in ATTEMPTS}
    assert refused
    assert all("is missing: its slot is moving" in each for each in refused)


@AHEAD
def test_without_the_guard_attempts_are_published_twice_ahead_of_their_buckets(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, away: Callable[[int], Sequence[int]], script: str, guard: str
) -> None:
    change_script(monkeypatch, script, guard, "false")
    events, _ = publish_ahead_of_buckets(cluster, away)
    assert set(events.values()) == {1, 2}
