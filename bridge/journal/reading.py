"""Reads the journal and what is remembered about attempts. Consumer groups: `workers/dispatch/lane.py`."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import redis

from bridge.journal.entries import Memory, StoredEvent, StreamItems
from bridge.journal.paging import id_order, read_stream
from bridge.journal.search import Place, walk_back
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.partitions import Partitions

__all__ = ["Reader", "bucket_number", "parse_memory"]

_PAGE = 500


class Reader:
    """Reads events in the order of their stream ids over all partitions. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, *, partitions: int = 1) -> None:
        self.client = client
        self.partitions = partitions
        self._places = Partitions(client, partitions)

    def with_events(self, source: str, attempt_id: str) -> list[int]:
        """The partitions that may have events of an attempt; one unless partitions were ever changed."""
        return self._places.with_events(source, attempt_id)

    def newest_event(self, source: str, attempt_id: str, memory: Memory) -> StoredEvent | None:
        """The event that `memory` names, or None if it left the journal."""
        for partition in self.with_events(source, attempt_id):
            event = self.entry(partition, memory.entry_id)
            if event is not None and (event.source, event.attempt) == (source, attempt_id):
                return event
        return None

    def events(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        newest_first: bool = True,
        source: str | None = None,
        event_type: str | None = None,
        attempt: str | None = None,
    ) -> Iterator[StoredEvent]:
        """Events recorded in [since, until] (UNIX seconds), filtered; each page is read when it is needed."""
        first = "-" if since is None else f"{int(since * 1000)}-0"
        last = "+" if until is None else str(int(until * 1000))
        streams = [self._events(partition, first, last, newest_first) for partition in range(self.partitions)]
        for _, event in heapq.merge(*streams, key=lambda item: item[0], reverse=newest_first):
            if (
                (source is None or event.source == source)
                and (event_type is None or event.type == event_type)
                and (attempt is None or event.attempt == attempt)
            ):
                yield event

    def newest_first(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        after: Place | None = None,
        first: int = _PAGE,
    ) -> Iterator[tuple[Place, int, StoredEvent]]:
        """(place, bytes, event) recorded in [since, until], as `walk_back` reads them; for `search`."""
        streams = [keys.journal(partition) for partition in range(self.partitions)]
        return walk_back(self.client, streams, stored_event, since=since, until=until, after=after, first=first)

    def entry(self, partition: int, entry_id: str) -> StoredEvent | None:
        """The event with this stream id, or None."""
        with state_errors():
            items = cast("StreamItems", self.client.xrange(keys.journal(partition), entry_id, entry_id))
        return stored_event(*items[0], partition) if items else None

    def attempt(self, source: str, attempt_id: str) -> Memory | None:
        """What is remembered about an attempt, or None."""
        return self.attempts(source, [attempt_id]).get(attempt_id)

    def attempts(self, source: str, attempt_ids: Iterable[str]) -> dict[str, Memory]:
        """What is remembered about several attempts, in a few round trips for each 500; unknown ones are left out."""
        memories: dict[str, Memory] = {}
        distinct = list(dict.fromkeys(attempt_ids))
        for start in range(0, len(distinct), _PAGE):
            missing, before = distinct[start : start + _PAGE], None
            # A split of a bucket between the two reads moves a field: read again while the table grows.
            while missing and (sizes := self._sizes()) != before:
                values = self._memories(source, missing, sizes)
                memories |= {name: parse_memory(value) for name, value in zip(missing, values, strict=True) if value}
                missing, before = [name for name in missing if name not in memories], sizes
        return memories

    def remembered(self, partitions: Iterable[int] | None = None) -> int:
        """The number of remembered attempts, over all partitions or some."""
        numbers = range(self.partitions) if partitions is None else partitions
        with state_errors():
            sizes = [self.client.hget(keys.seen(partition), "n") for partition in numbers]
        return sum(int(cast("bytes | None", size) or 0) for size in sizes)

    def counts(self, first_day: int, last_day: int) -> dict[tuple[str, str, str], int]:
        """(source, origin, outcome) -> number, over the UTC days (since 1970) from first to last, both included."""
        total: dict[tuple[str, str, str], int] = {}
        with state_errors():
            for partition in range(self.partitions):
                for day in range(first_day, last_day + 1):
                    counted = cast("dict[bytes, bytes]", self.client.hgetall(keys.counts(partition, day)))
                    for name, number in counted.items():
                        source, origin, outcome = name.decode().split("|")
                        total[source, origin, outcome] = total.get((source, origin, outcome), 0) + int(number)
        return total

    def tail(self, *, after: dict[int, str] | None = None, block_seconds: float) -> Iterator[StoredEvent | None]:
        """Follow the journal: each new event, and None whenever there was none for `block_seconds`.

        `after`: partition -> stream id to start after; by default only new events. The client's socket timeout must be
        longer than `block_seconds`.
        """
        last = {partition: (after or {}).get(partition, "$") for partition in range(self.partitions)}
        while True:
            events = self.read_after(last, block_seconds=block_seconds)
            if not events:
                yield None
            for event in events:
                last[event.partition] = event.entry_id
                yield event

    def read_after(self, after: Mapping[int, str], *, block_seconds: float) -> list[StoredEvent]:
        """The next events of all partitions; empty if there was none for `block_seconds`. `after`: as in `tail`."""
        names = {keys.journal(partition): partition for partition in after}
        with state_errors():
            positions = {name: after[partition] for name, partition in names.items()}
            answer = self.client.xread(cast("Any", positions), count=_PAGE, block=int(block_seconds * 1000))
        return [
            stored_event(entry_id, fields, names[name.decode()])
            for name, items in cast("list[tuple[bytes, StreamItems]]", answer or [])
            for entry_id, fields in items
        ]

    def ends(self) -> tuple[dict[int, str], dict[int, str]]:
        """partition -> stream id of the oldest and of the newest event, `0-0` without events."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for partition in range(self.partitions):
                pipe.xrange(keys.journal(partition), count=1)
                pipe.xrevrange(keys.journal(partition), count=1)
            entries = [items[0][0].decode() if items else "0-0" for items in pipe.execute()]
        return dict(enumerate(entries[::2])), dict(enumerate(entries[1::2]))

    def between(self, after: Mapping[int, str], until: Mapping[int, str]) -> Iterator[StoredEvent]:
        """Events after `after`, up to and including `until` (partition -> stream id), oldest first, page by page."""
        streams = [
            self._events(partition, f"({after[partition]}", until[partition], False)
            for partition in range(self.partitions)
        ]
        for _, event in heapq.merge(*streams, key=lambda item: item[0]):
            yield event

    def _sizes(self) -> list[tuple[int, int]]:
        """(buckets, epoch) of each partition."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for partition in range(self.partitions):
                pipe.hmget(keys.seen(partition), ["b", "e"])
            sizes = [(int(buckets or 1), int(epoch or 0)) for buckets, epoch in pipe.execute()]
        if any(epoch > self._places.spread().epoch for _, epoch in sizes):
            self._places.reload()
        return sizes

    def _memories(
        self, source: str, attempt_ids: Sequence[str], sizes: Sequence[tuple[int, int]]
    ) -> list[bytes | None]:
        spread = self._places.spread()
        memories: list[bytes | None] = [None] * len(attempt_ids)
        homes = [[*spread.earlier(source, name), spread.home(source, name)] for name in attempt_ids]
        # In this order: what is moved meanwhile is added to its home before it is deleted where it was.
        for step in range(max(map(len, homes))):
            asked = [(place, all_of[step]) for place, all_of in enumerate(homes) if step < len(all_of)]
            with state_errors():
                pipe = self.client.pipeline(transaction=False)
                for _, (partition, field) in asked:
                    pipe.hget(f"{keys.seen(partition)}:{bucket_number(field, sizes[partition][0])}", field)
                for (place, _), value in zip(asked, pipe.execute(), strict=True):
                    memories[place] = value or memories[place]
        return memories

    def _events(
        self, partition: int, first: str, last: str, newest_first: bool
    ) -> Iterator[tuple[tuple[int, int], StoredEvent]]:
        stream = keys.journal(partition)
        for entry_id, fields in read_stream(self.client, stream, first, last, page=_PAGE, newest_first=newest_first):
            yield id_order(entry_id), stored_event(entry_id, fields, partition)


def stored_event(entry_id: bytes, fields: dict[bytes, bytes], partition: int) -> StoredEvent:
    """The event of a journal entry as redis-py returns it."""
    return StoredEvent(
        entry_id=entry_id.decode(),
        partition=partition,
        id=fields[b"id"].decode(),
        type=fields[b"type"].decode(),
        source=fields[b"source"].decode(),
        attempt=fields[b"attempt"].decode(),
        event=fields[b"event"],
    )


def bucket_number(field: bytes, buckets: int) -> int:
    """The bucket of an attempt: linear hashing, as in publish_once.lua."""
    half = 1 << (buckets.bit_length() - 1)
    number = int.from_bytes(field[:4], "little")
    slot = number % (half * 2)
    return slot if slot < buckets else number % half


def parse_memory(value: bytes) -> Memory:
    """What is remembered about one attempt; publish_once.lua describes the layout of `value`."""
    flags, first_day = value[0], int.from_bytes(value[1:3], "big")
    by_webhook, by_poll, poll_first = bool(flags & 1), bool(flags & 2), bool(flags & 4)
    other_day = first_day + value[3]
    return Memory(
        revision=value[4] + 256 * (flags >> 3),
        order=int.from_bytes(value[5:10], "big"),
        entry_id=f"{int.from_bytes(value[10:16], 'big')}-{int.from_bytes(value[16:18], 'big')}",
        digests=tuple(value[start : start + 6] for start in range(18, len(value), 6)),
        first_origin="poll" if poll_first else "webhook",
        first_day=first_day,
        webhook_day=(other_day if poll_first else first_day) if by_webhook else None,
        poll_day=(first_day if poll_first else other_day) if by_poll else None,
    )
