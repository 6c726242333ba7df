"""How far a subscription is behind: the oldest event of the journal that it still has to settle. Reads only."""

from __future__ import annotations

from typing import cast

import redis

from bridge.journal.entries import StreamItems
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["oldest_unsettled_at"]


def oldest_unsettled_at(client: redis.Redis, subscription: str, *, partitions: int) -> float | None:
    """When that event was recorded, UNIX seconds; None if nothing is unsettled. A scheduled retry counts as settled.

    The journal is never trimmed past it (`bridge/journal/retention.py`), even while no process serves the
    subscription. Raises `StateUnavailable`.
    """
    with state_errors():
        entries = [
            _oldest_entry(client, keys.journal(partition), keys.group(subscription)) for partition in range(partitions)
        ]
    return min((int(entry.partition(b"-")[0]) / 1000 for entry in entries if entry is not None), default=None)


def _oldest_entry(client: redis.Redis, journal: str, group: str) -> bytes | None:
    """The id of the oldest entry that is pending or not read yet."""
    if not client.exists(journal):
        return None
    start = "-"
    for row in client.xinfo_groups(journal):
        if row["name"] in (group, group.encode()):
            if row["pending"]:
                return cast("dict[str, bytes]", client.xpending(journal, group))["min"]
            start = "(" + row["last-delivered-id"].decode()
    unread = cast("StreamItems", client.xrange(journal, start, "+", count=1))
    return unread[0][0] if unread else None
