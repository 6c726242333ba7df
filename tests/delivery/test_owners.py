"""Which of many subscriptions have a delivery of an event: under way, given up or settled, in a bucket of any class."""

from __future__ import annotations

import pytest
import redis

from bridge.delivery import history
from bridge.delivery.history import History
from bridge.delivery.settled import index_key
from bridge.state import keys

EVENT, OTHER = "9d267dfe-9269-5ed0-89f4-e54d8cadf8c7", "9d267dfe-9269-5ed0-89f4-e54d8cadf8c8"
NAMES = [f"receiver-{number:03}" for number in range(120)]


def settle(client: redis.Redis, subscription: str, partition: int, event_id: str, size: int) -> None:
    short = index_key(event_id)
    bucket = int.from_bytes(short[:2], "big") % 2**size
    client.hset(f"{keys.settled(subscription, partition)}:ids:{size}:{bucket}", short, "1-0")  # type: ignore[arg-type]


@pytest.fixture
def crowd(state: redis.Redis) -> redis.Redis:
    """Three owners in either partition, and neighbours with the next event."""
    for number, partition in ((1, 0), (51, 1)):
        state.hset(keys.deliveries(NAMES[number], partition), EVENT, "{}")
        state.zadd(keys.letter_index(NAMES[number + 1], partition), {f"e{EVENT}|1-0": 0})
        settle(state, NAMES[number + 2], partition, EVENT, size=15 * partition)
        state.hset(keys.deliveries(NAMES[number + 3], partition), OTHER, "{}")
        state.zadd(keys.letter_index(NAMES[number + 3], partition), {f"e{OTHER}|1-0": 0})
        state.hset(f"{keys.settled(NAMES[number + 3], partition)}:ids:3:9", "another", "1-0")
    return state


def test_owners_are_found_among_many_in_the_order_given(crowd: redis.Redis) -> None:
    owners = History(crowd, partitions=2).owners(NAMES, EVENT)

    assert owners == [NAMES[number] for number in (1, 2, 3, 51, 52, 53)]


def test_only_the_partition_of_the_event_is_asked_if_it_is_known(crowd: redis.Redis) -> None:
    assert History(crowd, partitions=2).owners(NAMES, EVENT, partition=1) == [NAMES[51], NAMES[52], NAMES[53]]


@pytest.mark.parametrize("size", range(history._CLASSES))
def test_a_bucket_of_any_class_is_asked(state: redis.Redis, size: int) -> None:
    settle(state, "crm", 0, EVENT, size)

    assert History(state).owners(["crm", "erp"], EVENT) == ["crm"]
