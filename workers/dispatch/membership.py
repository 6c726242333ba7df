"""One consumer's place in the consumer group of a subscription: read, hold, take over, leave. Sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from bridge.state import scripts

__all__ = ["GroupMember", "PendingEntry", "StreamEntry"]

#: (entry id, fields) of a journal entry.
StreamEntry = tuple[bytes, dict[bytes, bytes]]
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry that was given to us and not settled; `times`: how often it was given to anybody."""

    entry: bytes
    times: int


class GroupMember:
    """`client` must not repeat commands by itself: a repeated XREADGROUP hides the entries of the lost answer."""

    def __init__(self, client: redis.Redis, *, journal: str, group: str, consumer: str) -> None:
        self._client = client
        self._journal, self._group, self._consumer = journal, group, consumer
        self._adopt = scripts.register(client, __file__, "adopt")

    def join(self) -> None:
        """Make the group where it is not there, from the beginning: a subscription misses nothing in the journal."""
        try:
            self._client.xgroup_create(self._journal, self._group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def read(self, limit: int, block: float) -> list[StreamEntry]:
        """Entries that nobody has read, at most `limit`; waits `block` seconds for the first."""
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

    def held(self, limit: int) -> list[PendingEntry]:
        """What is pending for us, oldest first."""
        rows = cast(
            "list[dict[str, Any]]",
            self._client.xpending_range(
                self._journal, self._group, min="-", max="+", count=limit, consumername=self._consumer
            ),
        )
        return [PendingEntry(row["message_id"], row["times_delivered"]) for row in rows]

    def take(self, held: Sequence[PendingEntry]) -> list[StreamEntry]:
        """The contents of held entries, counted as given once more. What was deleted meanwhile is held no longer."""
        claimed = cast(
            "list[tuple[bytes | None, dict[bytes, bytes] | None]]",
            self._client.xclaim(self._journal, self._group, self._consumer, 0, [one.entry for one in held]),
        )
        return [(entry, fields) for entry, fields in claimed if entry is not None and fields]

    def keep(self, entries: Sequence[bytes | str]) -> None:
        """Go on holding entries, counted as never given: no process died of them."""
        self._client.xclaim(self._journal, self._group, self._consumer, 0, list(entries), retrycount=0, justid=True)

    def adopt(self, alive: Callable[[str], bool]) -> int:
        """Take over what consumers hold that are not `alive`, and remove them. How many entries."""
        taken = 0
        for row in self._client.xinfo_consumers(self._journal, self._group):
            name = row["name"].decode() if isinstance(row["name"], bytes) else row["name"]
            if name != self._consumer and not alive(name):
                while moved := self._move(name, _AT_ONCE):
                    taken += moved
        return taken

    def leave(self) -> None:
        """Remove our consumer if it holds nothing; otherwise others adopt it once we are silent."""
        self._move(self._consumer, 1)

    def _move(self, consumer: str, limit: int) -> int:
        moved = self._adopt(keys=[self._journal], args=[self._group, consumer, self._consumer, limit])
        return int(cast("int", moved))
