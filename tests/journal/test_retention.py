"""Nothing is forgotten while memories move between partitions: neither what has moved nor what has not."""

from __future__ import annotations

import pytest
import redis

from bridge.config.model import BridgeConfig
from bridge.config.model import Retention as RetentionConfig
from bridge.journal import Journal, retention
from bridge.journal.memories import MoveMemories
from bridge.journal.reading import Reader
from bridge.journal.retention import Retention
from bridge.state import keys
from bridge.state.partitions import Spread, attempt_field, partition_of_field, read_spread
from bridge.state.repartition import Repartition
from tests.support.journal import DAY, NOW, make_submission, outcomes
from tests.support.mutants import change_script

BRIDGE = BridgeConfig(
    name="acme", public_url="https://b.example.test", retention=RetentionConfig(events=9e9), remember_attempts=180 * DAY
)
#: An attempt that goes from partition 1 to partition 0, which is walked through first.
NAME = next(f"link:{n}" for n in range(50) if partition_of_field(attempt_field("eu", f"link:{n}"), 2) == 1)


@pytest.fixture
def changing(state: redis.Redis) -> Journal:
    """Two partitions become one: the attempt, revised since, is remembered in both; nothing has moved otherwise."""
    state.hset(keys.BRIDGE, mapping={"name": "acme", "partitions": "2", "layout": "3"})
    published = outcomes(Journal(state, partitions=2), *(make_submission(f"link:{number}") for number in range(50)))
    assert published == ["published"] * 50
    assert Repartition(state, configured=2).begin(1, now=NOW)
    # One that knows of the change.
    journal = Journal(state, partitions=2)
    assert outcomes(journal, make_submission(NAME, 2, order=2)) == ["revised"]
    return journal


def forget(state: redis.Redis) -> int:
    """A round after everything has become too old."""
    return Retention(state, partitions=2).run(BRIDGE, now=9e9).attempts


def test_while_memories_move_nothing_is_forgotten(state: redis.Redis, changing: Journal) -> None:
    assert forget(state) == 0
    assert outcomes(changing, make_submission(NAME, 2, order=2)) == ["duplicate"]
    spread = read_spread(state, configured=2)
    assert spread is not None
    for partition in range(2):
        bucket = 0
        while bucket >= 0:
            bucket, _ = MoveMemories(state).move(partition, bucket, 10, spread)
    assert forget(state) == 0
    assert Repartition(state, configured=2).end(spread.epoch, now=NOW)
    assert (forget(state), Reader(state, partitions=2).remembered()) == (50, 0)


def round_that_began_before(state: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> int:
    """What is forgotten by a round that has read how attempts were spread before the change."""
    monkeypatch.setattr(retention, "read_spread", lambda *_, **__: Spread(2))
    return forget(state)


def test_a_round_that_began_before_memories_move_forgets_nothing_that_may_have_a_copy(
    state: redis.Redis, changing: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert round_that_began_before(state, monkeypatch) == 0
    assert outcomes(changing, make_submission(NAME, 2, order=2)) == ["duplicate"]


@pytest.mark.single_server  # the script writes into a partition that may be on another server
def test_without_the_epoch_a_revision_would_be_published_again(
    state: redis.Redis, changing: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_script(monkeypatch, "buckets", "if epoch < known then", "if false then")
    change_script(monkeypatch, "forget", "seen .. ':' .. number", "'ab:{0}:seen:' .. number")
    round_that_began_before(state, monkeypatch)
    assert outcomes(changing, make_submission(NAME, 2, order=2)) == ["revised"]
    ids = [event.id for event in Reader(state, partitions=2).events(attempt=NAME)]
    assert len(ids) == len(set(ids)) + 1
