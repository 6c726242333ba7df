"""One consumer in the consumer group of a subscription: reads, keeps, adopts and leaves. Sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from bridge.state import scripts
from workers.dispatch.idle import IdleLane

__all__ = ["BLOCK_SECONDS", "GroupMember", "PendingEntry", "StreamEntry", "consumers"]

#: (entry id, fields) of a journal entry.
StreamEntry = tuple[bytes, dict[bytes, bytes]]
#: A blocking read waits at most this long, so that a lane notices a stop or a pause.
BLOCK_SECONDS = 2.0
#: After this many of them without an event, a lane waits together with others: the next event costs a round trip more.
_QUIET_READS = 5
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

    def __init__(
        self,
        client: redis.Redis,
        *,
        journal: str,
        group: str,
        consumer: str,
        idle: IdleLane | None = None,
        start: str = "0",
    ) -> None:
        """`idle`: how it waits, together with other lanes, when nothing has come for a while.

        `start`: where a new group begins, `0` at the oldest event of the journal, `$` at the next one.
        """
        self._client, self._idle, self._start = client, idle, start
        self._quiet_reads = 0
        self._journal, self._group, self._consumer = journal, group, consumer
        self._adopt = scripts.register(client, __file__, "adopt")

    def join(self) -> None:
        """Create the group if it is missing."""
        try:
            self._client.xgroup_create(self._journal, self._group, id=self._start, mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def read(self, limit: int, block: float) -> list[StreamEntry]:
        """At most `limit` entries that no consumer has read; waits at most `block` seconds for the first."""
        if self._idle is None or block <= BLOCK_SECONDS or self._quiet_reads < _QUIET_READS:
            entries = self._read(limit, min(block, BLOCK_SECONDS))
            self._quiet_reads = 0 if entries else self._quiet_reads + (block >= BLOCK_SECONDS)
            return entries
        self._idle.arm()
        entries = self._read(limit, 0.0)
        if not entries and self._idle.wait(block):
            entries = self._read(limit, 0.0)
        self._idle.disarm()
        self._quiet_reads = 0 if entries else self._quiet_reads
        return entries

    def _read(self, limit: int, block: float) -> list[StreamEntry]:
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
        """Keep entries pending with a delivery count of 0: they did not end a process."""
        self._client.xclaim(self._journal, self._group, self._consumer, 0, list(entries), retrycount=0, justid=True)

    def adopt(self, alive: Callable[[str], bool]) -> int:
        """Take over the pending entries of consumers that are not `alive`, and remove those; returns how many."""
        taken = 0
        for name in _names(self._client.xinfo_consumers(self._journal, self._group)):
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


def consumers(client: redis.Redis, groups: Sequence[tuple[str, str]]) -> list[set[str]]:
    """The consumers of each (journal, group), in one round trip.

    Empty for a group that does not exist yet, and for one whose server is away on a cluster.
    """
    pipe = client.pipeline(transaction=False)
    for journal, group in groups:
        pipe.xinfo_consumers(journal, group)
    answers = pipe.execute(raise_on_error=False)
    return [set() if isinstance(answer, redis.RedisError) else _names(answer) for answer in answers]


def _names(rows: Iterable[dict[str, Any]]) -> set[str]:
    return {row["name"].decode() if isinstance(row["name"], bytes) else row["name"] for row in rows}
