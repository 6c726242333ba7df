"""In which partition an attempt is, and under which field: by digest, or as layout 2 had it."""

from __future__ import annotations

import pytest
import redis

from bridge.config.model import BridgeConfig
from bridge.ingest import notices
from bridge.journal import Journal
from bridge.journal.reading import Reader
from bridge.state import keys, partitions
from bridge.state.partitions import Partitions, Spread, attempt_field, partition_of_field
from tests.support.journal import NOW, make_submission, outcomes

BRIDGE = BridgeConfig(name="acme", public_url="https://bridge.example.test")
NAMES = [f"link:{number}" for number in range(60)]
#: Of source `eu`, four partitions: what version 0.1 computed.
BY_NAME = {"link:1": 3, "link:2": 1, "link:3": 3, "link:4": 0}


def of_layout(state: redis.Redis, layout: int, number: int = 4) -> Spread:
    state.hset(keys.BRIDGE, mapping={"name": "acme", "partitions": str(number), "layout": str(layout)})
    return Partitions(state, number).spread()


def test_the_field_of_an_attempt_and_of_its_notices_tells_their_partition(state: redis.Redis) -> None:
    places, homes = of_layout(state, 3), set()
    for name in NAMES:
        partition, field = places.home("eu", name)
        assert field == attempt_field("eu", name)
        assert partition == partition_of_field(field, 4) == int.from_bytes(field[12:16], "little") % 4
        about, notice = places.home("eu", name, "notice:attempt.overdue:1")
        assert (about, len(notice), partition_of_field(notice, 4)) == (partition, 16, partition)
        assert notice != places.home("eu", name, "notice:attempt.overdue:2")[1]
        homes.add(partition)
    assert homes == {0, 1, 2, 3}


def test_a_state_of_layout_2_keeps_its_partitions_and_fields(state: redis.Redis) -> None:
    places = of_layout(state, 2)
    assert {name: places.home("eu", name)[0] for name in BY_NAME} == BY_NAME
    assert places.home("eu", "link:1", "notice:1") == (BY_NAME["link:1"], attempt_field("eu", "notice:1"))


@pytest.mark.parametrize("layout", [2, 3])
def test_with_one_partition_an_attempt_is_where_it_was(state: redis.Redis, layout: int) -> None:
    places = of_layout(state, layout, 1)
    assert places.home("eu", "link:1") == (0, attempt_field("eu", "link:1"))
    assert places.home("eu", "link:1", "notice:1")[0] == 0


def published_again(state: redis.Redis) -> set[str]:
    """What became of attempts and notices that a process of the version before had published."""
    offered = [make_submission(name) for name in NAMES]
    about = [notices.consent_withdrawn(key=name, number=1, at=NOW, subject={}, attempts_voided=0) for name in NAMES]
    offered += [notices.submission(BRIDGE, "eu", "classmarker", notice, now=NOW) for notice in about]
    return set(outcomes(Journal(state, partitions=4), *offered))


@pytest.mark.parametrize("layout", [2, 3])
def test_a_later_process_finds_what_was_published(state: redis.Redis, layout: int) -> None:
    of_layout(state, layout)
    assert published_again(state) == {"published"}
    assert published_again(state) == {"duplicate"}
    reader = Reader(state, partitions=4)
    assert reader.attempts("eu", NAMES).keys() == set(NAMES)
    assert all(reader.newest_event("eu", name, memory) for name, memory in reader.attempts("eu", NAMES).items())


def test_a_state_of_layout_2_that_is_taken_for_one_of_layout_3_publishes_again(
    state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_layout(state, 2)
    published_again(state)
    monkeypatch.setattr(partitions, "_BY_DIGEST", 2)
    assert "published" in published_again(state)
