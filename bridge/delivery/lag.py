"""How far a subscription is behind: the oldest event of the journal that it still has to settle. Reads only."""

from __future__ import annotations

from typing import cast

import redis

from bridge.journal.entries import StreamItems
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["oldest_unsettled_at"]


def oldest_unsettled_at(client: redis.Redis, subscription: str, *, partitions: int) -> float | None:
    """When that event was recorded, UNIX seconds; None: nothing waits. What is kept for a retry counts as settled.

    The journal is not trimmed past it (`bridge/journal/retention.py`), also while nobody serves the subscription.
    Raises `StateUnavailable`.
    """
    with state_errors():
        found = [_oldest(client, keys.journal(partition), keys.group(subscription)) for partition in range(partitions)]
    return min((int(one.partition(b"-")[0]) / 1000 for one in found if one is not None), default=None)


def _oldest(client: redis.Redis, journal: str, group: str) -> bytes | None:
    """The id of the oldest entry that was read and is pending, or was not read yet."""
    if not client.exists(journal):
        return None
    begin = "-"
    for facts in client.xinfo_groups(journal):
        if facts["name"] in (group, group.encode()):
            if facts["pending"]:
                return cast("dict[str, bytes]", client.xpending(journal, group))["min"]
            begin = "(" + facts["last-delivered-id"].decode()
    unread = cast("StreamItems", client.xrange(journal, begin, "+", count=1))
    return unread[0][0] if unread else None
