"""Moves what is remembered about attempts from one partition to another.

Every step can be repeated: a memory is read where it was, where raising the epoch has stopped all changes; it is added
to its new home unless it is there; only then is it deleted where it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import redis

from bridge.errors import StateUnavailable
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.partitions import Home, Spread, partition_of_field

__all__ = ["MoveMemories", "StalePartitions", "stale_as_such"]


class StalePartitions(StateUnavailable):
    """The partitions have changed since they were read: nothing was done. Load them again."""

    default_reason = "stale_partitions"


@contextmanager
def stale_as_such() -> Iterator[None]:
    """The error STALE of a script as `StalePartitions`."""
    try:
        yield
    except redis.ResponseError as error:
        if str(error).startswith("STALE"):
            raise StalePartitions(f"state server: {error}. Send it again") from error
        raise


class MoveMemories:
    """Moves what is remembered. Every method raises `StateUnavailable`, and `StalePartitions` for an old `spread`."""

    def __init__(self, client: redis.Redis, *, crash: Callable[[str], None] = lambda point: None) -> None:
        """`crash` is called between two effects, for tests that end the process there."""
        self._client, self._crash = client, crash
        self._read, self._add, self._leaving, self._drop = (
            scripts.register(client, __file__, "buckets", name)
            for name in ("read_memories", "add_memories", "leaving_memories", "drop_memories")
        )

    def fetch(self, wanted: Iterable[tuple[Home, Sequence[Home]]], spread: Spread) -> None:
        """Before attempts are published for the first time: bring what is remembered about them home.

        `wanted`: the home of each, and where it may still be remembered. The mover deletes it there.
        """
        places: dict[int, list[tuple[bytes, Home]]] = defaultdict(list)
        for home, earlier in wanted:
            for partition, field in earlier:
                places[partition].append((field, home))
        arriving: dict[int, list[bytes]] = defaultdict(list)
        for partition, asked in places.items():
            values = self._run(self._read, partition, spread, [field for field, _ in asked])
            for (_, (to, field)), value in zip(asked, values, strict=True):
                if value is not None:
                    arriving[to] += (field, value)
        for partition, pairs in arriving.items():
            self._run(self._add, partition, spread, pairs)

    def move(self, partition: int, bucket: int, number: int, spread: Spread) -> tuple[int, int]:
        """Move what some buckets remember about attempts of other partitions; (next bucket or -1, number moved)."""
        args = [partition, spread.partitions, bucket, number]
        following, *leaving = self._run(self._leaving, partition, spread, args)
        self._crash("read")
        arriving: dict[int, list[bytes]] = defaultdict(list)
        for field, value in zip(leaving[::2], leaving[1::2], strict=True):
            arriving[partition_of_field(field, spread.partitions)] += (field, value)
        for home, pairs in arriving.items():
            self._run(self._add, home, spread, pairs)
            self._crash("added")
        if leaving:
            self._run(self._drop, partition, spread, leaving[::2])
            self._crash("dropped")
        return following, len(leaving) // 2

    def _run(self, script: Any, partition: int, spread: Spread, args: Sequence[Any]) -> list[Any]:
        with state_errors(), stale_as_such():
            # The second key never exists: see publish_once.lua.
            names = [keys.seen(partition), keys.event_ids(partition)]
            return cast("list[Any]", script(keys=names, args=[spread.epoch, *args]))
