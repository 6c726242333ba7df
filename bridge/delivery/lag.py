"""How far a subscription is behind: the oldest event of the journal that it still has to settle. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from bridge.delivery.journal_groups import JournalGroups, read_groups
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["oldest_unsettled", "oldest_unsettled_at"]


def oldest_unsettled_at(client: redis.Redis, subscription: str, *, partitions: int) -> float | None:
    """When that event was recorded, UNIX seconds; None if nothing is unsettled. A scheduled retry counts as settled.

    The journal is never trimmed past it (`bridge/journal/retention.py`), even while no process serves the
    subscription. Raises `StateUnavailable`.
    """
    with state_errors():
        return oldest_unsettled(client, [subscription], read_groups(client, range(partitions)))[subscription]


def oldest_unsettled(
    client: redis.Redis, subscriptions: Sequence[str], journals: Sequence[JournalGroups]
) -> dict[str, float | None]:
    """The same for several, in one round trip. `journals`: from `read_groups`. Raises the errors of redis-py."""
    pipe, asked = client.pipeline(transaction=False), dict[tuple[int, str, str], int]()
    wanted: list[tuple[str, int]] = []
    for name in subscriptions:
        for journal in journals:
            if not journal.exists:
                continue
            group = journal.groups.get(keys.group(name))
            pending = keys.group(name) if group is not None and group.pending else ""
            # Most subscriptions are at the same place: what comes after it is read only once.
            start = "" if pending else "-" if group is None else f"({group.last_delivered}"
            place = (journal.partition, pending, start)
            if place not in asked:
                asked[place] = len(asked)
                if pending:
                    pipe.xpending(keys.journal(journal.partition), pending)
                else:
                    pipe.xrange(keys.journal(journal.partition), start, "+", count=1)
            wanted.append((name, asked[place]))
    moments = [_recorded_at(answer) for answer in (pipe.execute() if asked else ())]
    oldest: dict[str, float | None] = dict.fromkeys(subscriptions)
    for name, number in wanted:
        moment, before = moments[number], oldest[name]
        if moment is not None:
            oldest[name] = moment if before is None else min(before, moment)
    return oldest


def _recorded_at(answer: Any) -> float | None:
    """The time of the oldest pending entry (XPENDING) or of the first one (XRANGE)."""
    entry = answer["min"] if isinstance(answer, dict) else answer[0][0] if answer else None
    return None if entry is None else int(entry.partition(b"-")[0]) / 1000
