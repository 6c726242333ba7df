"""The consumer groups on the journal, of all subscriptions at once: the server lists all of them in any case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from bridge.state import keys

__all__ = ["JournalGroups", "ReadingGroup", "read_groups"]


@dataclass(frozen=True, slots=True)
class ReadingGroup:
    """How far a group has read one partition. `pending`: read and not settled; `lag`: not read, None: unknown."""

    pending: int
    lag: int | None
    last_delivered: str


@dataclass(frozen=True, slots=True)
class JournalGroups:
    """One partition: its entries, and its groups by name. `exists`: False before the first event."""

    partition: int
    exists: bool
    entries: int
    groups: Mapping[str, ReadingGroup]


def read_groups(client: redis.Redis, partitions: Sequence[int]) -> list[JournalGroups]:
    """The groups of each of the partitions, in two round trips. Raises the errors of redis-py."""
    journals = [keys.journal(partition) for partition in partitions]
    pipe = client.pipeline(transaction=False)
    for journal in journals:
        pipe.exists(journal)
        pipe.xlen(journal)
    sizes = pipe.execute()
    known = [bool(exists) for exists in sizes[::2]]
    pipe = client.pipeline(transaction=False)
    for journal, exists in zip(journals, known, strict=True):
        if exists:
            pipe.xinfo_groups(journal)
    answers = iter(pipe.execute() if any(known) else ())
    return [
        JournalGroups(partition, exists, entries, _by_name(next(answers)) if exists else {})
        for partition, exists, entries in zip(partitions, known, sizes[1::2], strict=True)
    ]


def _by_name(rows: list[dict[str, Any]]) -> dict[str, ReadingGroup]:
    return {
        _text(row["name"]): ReadingGroup(int(row["pending"]), row.get("lag"), _text(row["last-delivered-id"]))
        for row in rows
    }


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
