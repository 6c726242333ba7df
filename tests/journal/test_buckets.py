"""The buckets of the memory of attempts: one that is away is never taken for empty, and old ones get their marks.

A slot that moves takes keys away one by one: DUMP, DEL and RESTORE are what MIGRATE does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import redis

from bridge.config.model import BridgeConfig
from bridge.errors import StateUnavailable
from bridge.journal import POLL, Journal
from bridge.journal.reading import Reader
from bridge.journal.retention import Retention
from bridge.state import keys
from tests.support.journal import DAY, make_submission, outcomes
from tests.support.mutants import change_script

MARK = b"\0\0\0\0!"
SEEN = keys.seen(0)
pytestmark = pytest.mark.own_partitions


def buckets(state: redis.Redis) -> int:
    return int(state.hget(SEEN, "b"))  # type: ignore[arg-type]


def marks(state: redis.Redis) -> int:
    """How many buckets have one."""
    return sum(bool(state.hexists(f"{SEEN}:{number}", MARK)) for number in range(buckets(state)))


@contextmanager
def away(state: redis.Redis, key: str) -> Iterator[None]:
    """The key is on another server, and comes back."""
    held = state.dump(key)
    state.delete(key)
    yield
    state.restore(key, 0, held)  # type: ignore[arg-type]


def publish(journal: Journal, names: range) -> None:
    for start in range(names.start, names.stop, 100):
        several = range(start, min(start + 100, names.stop))
        outcomes(journal, *(make_submission(f"link:{number}", origin=POLL) for number in several))


def doubles(state: redis.Redis) -> list[str]:
    number = Counter(event.attempt for event in Reader(state).events())
    return [attempt for attempt, times in number.items() if times > 1]


def publish_while_each_bucket_is_away(state: redis.Redis) -> int:
    """How many calls were refused."""
    journal, refused = Journal(state), 0
    publish(journal, range(400))
    for number in range(buckets(state)):
        with away(state, f"{SEEN}:{number}"):
            for attempt in range(0, 400, 4):
                try:
                    outcomes(journal, make_submission(f"link:{attempt}", origin=POLL))
                except StateUnavailable:
                    refused += 1
    return refused


def publish_while_splits_are_due(state: redis.Redis) -> None:
    """New attempts, while the bucket that is to be split is away, and then all of them again."""
    journal = Journal(state)
    publish(journal, range(300))
    with away(state, f"{SEEN}:{buckets(state) - 4}"):
        for number in range(300, 500):
            with suppress(StateUnavailable):
                outcomes(journal, make_submission(f"link:{number}", origin=POLL))
    publish(journal, range(500))


@pytest.mark.single_server  # a client of a cluster repeats each of the calls for two seconds
def test_no_attempt_is_new_because_its_bucket_is_away(state: redis.Redis) -> None:
    assert publish_while_each_bucket_is_away(state) == 100
    assert doubles(state) == []
    assert Reader(state).remembered() == 400


def test_a_refused_call_says_what_is_missing_and_can_be_repeated(state: redis.Redis) -> None:
    journal = Journal(state)
    publish(journal, range(300))
    several = [make_submission(f"link:{number}", origin=POLL) for number in range(280, 340)]
    with away(state, f"{SEEN}:1"), pytest.raises(StateUnavailable, match=r"seen:1 is missing: its slot is moving"):
        outcomes(journal, *several)
    outcomes(journal, *several)
    assert (doubles(state), Reader(state).remembered()) == ([], 340)
    assert Reader(state).counts(20_000, 20_000)["eu", "poll", "published"] == 340


def test_an_operator_can_give_up_a_bucket_that_was_deleted(state: redis.Redis) -> None:
    journal = Journal(state)
    publish(journal, range(300))
    state.delete(f"{SEEN}:1")
    with pytest.raises(StateUnavailable, match="or it was deleted"):
        publish(journal, range(300))
    state.hdel(SEEN, "m")
    publish(journal, range(300))
    assert marks(state) == buckets(state)


@pytest.mark.single_server  # as above
def test_a_bucket_that_is_away_is_not_split(state: redis.Redis) -> None:
    publish_while_splits_are_due(state)
    assert doubles(state) == []
    assert Reader(state).remembered() == 500
    # Meanwhile nothing was split; each new attempt afterwards splits one bucket.
    publish(Journal(state), range(500, 510))
    assert (buckets(state), marks(state)) == (8, 8)


@pytest.mark.single_server  # as above
@pytest.mark.parametrize(
    ("scenario", "script", "old", "new"),
    [
        (publish_while_each_bucket_is_away, "publish_once", "call('HEXISTS', bucket, MARK) == 0", "false"),
        (publish_while_splits_are_due, "buckets", "if not is_here then return end", ""),
    ],
    ids=["new although the bucket is away", "split although the bucket is away"],
)
def test_half_a_guard_publishes_twice(
    state: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[redis.Redis], object],
    script: str,
    old: str,
    new: str,
) -> None:
    change_script(monkeypatch, script, old, new)
    # Two servers would have the same bucket now.
    with suppress(redis.ResponseError):
        scenario(state)
    assert doubles(state)


def as_an_earlier_version_left_it(state: redis.Redis) -> None:
    """Without marks; a bucket without attempts does not exist."""
    publish(Journal(state), range(600))
    for number in range(buckets(state)):
        state.hdel(f"{SEEN}:{number}", MARK)
    state.hdel(SEEN, "m")
    forgotten = int(state.hlen(f"{SEEN}:3"))  # type: ignore[arg-type]
    state.delete(f"{SEEN}:3")
    state.hincrby(SEEN, "n", -forgotten)


def test_the_buckets_of_an_earlier_version_get_their_marks_at_a_start_whoever_is_killed(
    state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_an_earlier_version_left_it(state)
    remembered = Reader(state).remembered()
    change_script(monkeypatch, "buckets", "1000", "4")
    outcomes(Journal(state), make_submission("link:0", origin=POLL))  # a process that is killed after one call
    assert marks(state) == 4
    Journal(state).mark_buckets()
    assert (marks(state), buckets(state)) == (10, 10)
    publish(Journal(state), range(600))
    assert Reader(state).remembered() == 600
    assert len(doubles(state)) == 600 - remembered
    Journal(state, partitions=2).mark_buckets()
    assert not state.exists(keys.seen(1))


def test_what_a_process_of_the_earlier_version_splits_meanwhile_gets_its_mark(state: redis.Redis) -> None:
    journal = Journal(state)
    publish(journal, range(300))
    last = buckets(state) - 1
    state.hdel(f"{SEEN}:{last}", MARK)
    state.hset(SEEN, "m", last)
    publish(journal, range(400))
    assert marks(state) == buckets(state)
    assert doubles(state) == []


def test_a_mark_is_never_forgotten(state: redis.Redis) -> None:
    journal = Journal(state)
    publish(journal, range(300))
    written = int(next(Reader(state).events()).entry_id.split("-")[0]) / 1000
    bridge = BridgeConfig(name="b", public_url="http://b", remember_attempts=DAY)
    assert Retention(state).run(bridge, now=written + 2 * DAY).attempts == 300
    assert (marks(state), Reader(state).remembered()) == (buckets(state), 0)
    publish(journal, range(300))
    assert Reader(state).remembered() == 300
