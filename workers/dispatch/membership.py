"""One consumer in the consumer group of a subscription: reads, keeps, adopts and leaves. Sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from bridge.state import scripts

__all__ = ["GroupMember", "PendingEntry", "StreamEntry"]

#: (entry id, fields) of a journal entry.
StreamEntry = tuple[bytes, dict[bytes, bytes]]
_ADOPT_BATCH = 200


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry that this consumer has read and not settled."""

    #: Entry id in the journal.
    entry: bytes
    #: How often it was delivered, to any consumer.
    times: int


class GroupMember:
    """`client` must not retry commands: a repeated XREADGROUP hides the entries of the lost reply."""

    def __init__(self, client: redis.Redis, *, journal: str, group: str, consumer: str) -> None:
        self._client = client
        self._journal, self._group, self._consumer = journal, group, consumer
        self._adopt = scripts.register(client, __file__, "adopt")

    def join(self) -> None:
        """Create the group if it is missing, from the start: a subscription gets every event of the journal."""
        try:
            self._client.xgroup_create(self._journal, self._group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def read(self, limit: int, block: float) -> list[StreamEntry]:
        """At most `limit` entries that no consumer has read; waits `block` seconds for the first."""
        answer = cast(
            "list[tuple[bytes, list[StreamEntry]]] | None",
            self._client.xreadgroup(
                self._group,
                self._consumer,
                {self._journal: ">"},
                count=limit,
                block=max(1, int(block * 1000)) if block > 0 else None,
            ),
        )
        return answer[0][1] if answer else []

    def pending(self, limit: int) -> list[PendingEntry]:
        """The entries that are pending for this consumer, oldest first."""
        rows = cast(
            "list[dict[str, Any]]",
            self._client.xpending_range(
                self._journal, self._group, min="-", max="+", count=limit, consumername=self._consumer
            ),
        )
        return [PendingEntry(row["message_id"], row["times_delivered"]) for row in rows]

    def take(self, entries: Sequence[PendingEntry]) -> list[StreamEntry]:
        """The contents of pending entries, each counted as one more delivery. Deleted entries stop being pending."""
        claimed = cast(
            "list[tuple[bytes | None, dict[bytes, bytes] | None]]",
            self._client.xclaim(self._journal, self._group, self._consumer, 0, [pending.entry for pending in entries]),
        )
        return [(entry, fields) for entry, fields in claimed if entry is not None and fields]

    def keep(self, entries: Sequence[bytes | str]) -> None:
        """Keep entries pending with a delivery count of 0: they ended no process."""
        self._client.xclaim(self._journal, self._group, self._consumer, 0, list(entries), retrycount=0, justid=True)

    def adopt(self, alive: Callable[[str], bool]) -> int:
        """Take over the pending entries of consumers that are not `alive`, and remove those; returns how many."""
        taken = 0
        for row in self._client.xinfo_consumers(self._journal, self._group):
            name = row["name"].decode() if isinstance(row["name"], bytes) else row["name"]
            if name != self._consumer and not alive(name):
                while moved := self._move(name, _ADOPT_BATCH):
                    taken += moved
        return taken

    def leave(self) -> None:
        """Remove this consumer if nothing is pending; otherwise others adopt its entries."""
        self._move(self._consumer, 1)

    def _move(self, consumer: str, limit: int) -> int:
        moved = self._adopt(keys=[self._journal], args=[self._group, consumer, self._consumer, limit])
        return int(cast("int", moved))
