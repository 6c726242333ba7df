"""How many partitions stores and configurations have where a test names no number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from bridge.journal.paging import id_order
from bridge.state import keys

__all__ = ["default_partitions", "entries", "numbers", "with_default_partitions"]

Stream = list[tuple[bytes, dict[bytes, bytes]]]
_number = 1


def numbers() -> range:
    """The partitions that stores have by default."""
    return range(_number)


def entries(client: redis.Redis, stream: Callable[[int], str] = keys.journal) -> Stream:
    """(id, fields) of what that stream holds in each partition; of one in its order, of several by attempt.

    The ids of several have no order that could be relied on: two of them may be of one millisecond.
    """

    def place(entry: Any) -> tuple[bytes, tuple[int, int]]:
        return entry[1].get(b"attempt", b""), id_order(entry[0])

    stored: Any = [entry for partition in numbers() for entry in client.xrange(stream(partition))]
    return stored if _number == 1 else sorted(stored, key=place)


def with_default_partitions() -> list[Callable[..., Any]]:
    """The constructors of what has one partition unless the caller says otherwise."""
    # Read only where another number is wanted: this imports most of the bridge.
    from bridge.config.model import BridgeConfig
    from bridge.delivery.history import History
    from bridge.delivery.replay_store import Replays
    from bridge.delivery.store import Deliveries
    from bridge.journal import Journal
    from bridge.journal.event_index import EventIndex
    from bridge.journal.reading import Reader
    from bridge.journal.requests import RequestStore
    from bridge.journal.retention import Retention

    made = (BridgeConfig, Deliveries, EventIndex, History, Journal, Reader, Replays, RequestStore, Retention)
    return [cls.__init__ for cls in made]


@contextmanager
def default_partitions(number: int) -> Iterator[None]:
    """While this is open, all of them have `number` partitions by default."""
    global _number
    earlier_number, _number = _number, number
    makers = with_default_partitions() if number != 1 else []
    earlier = [dict(maker.__kwdefaults__) for maker in makers]
    for maker in makers:
        maker.__kwdefaults__["partitions"] = number
    try:
        yield
    finally:
        _number = earlier_number
        for maker, defaults in zip(makers, earlier, strict=True):
            maker.__kwdefaults__.update(defaults)
