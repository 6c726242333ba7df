"""Reads streams backwards, newest first: in pages that continue where the last one ended, and only up to a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Generic, TypeVar, cast

import redis

from bridge.journal.entries import StreamItems
from bridge.journal.paging import id_order, is_before
from bridge.state.errors import state_errors

__all__ = ["MAX_BYTES", "MAX_ENTRIES", "MAX_FOUND_BYTES", "Place", "SearchPage", "search", "walk_back"]

#: Most entries, and bytes in them, that one search reads, and bytes of what it finds, so that a call takes less than
#: 100 ms: `bench api` measures it.
MAX_ENTRIES, MAX_BYTES, MAX_FOUND_BYTES = 500, 2_000_000, 400_000
#: Most entries in one read of a stream; each read takes `_GROWTH` times as many as the one before.
_PAGE, _GROWTH = 500, 4

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The place of an entry among those of several streams; later entries are greater."""

    milliseconds: int
    sequence: int
    #: Number of the stream.
    stream: int

    @property
    def entry(self) -> str:
        """The stream id."""
        return f"{self.milliseconds}-{self.sequence}"

    def __str__(self) -> str:
        return f"{self.entry}/{self.stream}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place that was written with `str`. Raises `ValueError`."""
        entry, slash, stream = text.partition("/")
        milliseconds, dash, sequence = entry.partition("-")
        numbers = (milliseconds, sequence, stream)
        if not (slash and dash and all(part.isascii() and part.isdecimal() and len(part) < 20 for part in numbers)):
            raise ValueError("not the place of an entry")
        return cls(int(milliseconds), int(sequence), int(stream))


@dataclass(frozen=True, slots=True)
class SearchPage(Generic[_Item]):
    """One page of a search."""

    rows: list[_Item]
    #: Where the next page continues; None: there is no more.
    position: Place | None
    #: UNIX seconds of the oldest entry that was read, if the search ended at its bound.
    searched_until: float | None


def walk_back(
    client: redis.Redis,
    streams: Sequence[str],
    read: Callable[[bytes, dict[bytes, bytes], int], _Item],
    *,
    since: float | None = None,
    until: float | None = None,
    after: Place | None = None,
    first: int = _PAGE,
) -> Iterator[tuple[Place, int, _Item]]:
    """(place, bytes, item) of the entries of several streams, newest first; each page is read when it is needed.

    `read`: makes the item of a stream id, the entry's fields and the number of its stream. `since`, `until`: UNIX
    seconds, both included. `after`: where the page before ended. `first`: entries to read first. Raises
    `StateUnavailable`.
    """
    oldest, size = "-" if since is None else f"{int(since * 1000)}-0", min(first, _PAGE)
    # There may be hundreds of streams: one round trip for the oldest entries of all, one for their first pages.
    with state_errors():
        pipe = client.pipeline(transaction=False)
        for name in streams:
            pipe.xrange(name, count=1)
        ends = cast("list[StreamItems]", pipe.execute())
        # An XREVRANGE that begins before the oldest entry would read the whole stream and find nothing.
        starts = [
            (number, name, end[0][0], newest)
            for number, (name, end) in enumerate(zip(streams, ends, strict=True))
            if end and not is_before(newest := _newest(until, after, number), end[0][0])
        ]
        pipe = client.pipeline(transaction=False)
        for _, name, _, newest in starts:
            pipe.xrevrange(name, newest, oldest, count=size)
        pages = cast("list[StreamItems]", pipe.execute() if starts else [])
    walks = [
        _walk_one(client, name, number, (oldest, end), page, size)
        for (number, name, end, _), page in zip(starts, pages, strict=True)
    ]
    for place, entry_id, fields in merge(*walks, key=lambda step: step[0], reverse=True):
        yield place, sum(map(len, fields.values())), read(entry_id, fields, place.stream)


def search(
    steps: Iterable[tuple[Place, int, _Item]],
    matches: Callable[[_Item], bool],
    limit: int,
    *,
    max_entries: int = MAX_ENTRIES,
    max_bytes: int = MAX_BYTES,
    max_found_bytes: int = MAX_FOUND_BYTES,
) -> SearchPage[_Item]:
    """The first `limit` items that match, of at most `max_entries` entries and about `max_bytes`.

    Items that together exceed `max_found_bytes` end the page too.
    """
    rows: list[_Item] = []
    last: Place | None = None
    entries = size = found_size = 0
    for place, length, item in steps:
        if len(rows) == limit or found_size >= max_found_bytes:
            return SearchPage(rows, last, None)
        if last is not None and (entries >= max_entries or size >= max_bytes):
            return SearchPage(rows, last, last.milliseconds / 1000)
        last, entries, size = place, entries + 1, size + length
        if matches(item):
            rows.append(item)
            found_size += length
    return SearchPage(rows, None, None)


def _newest(until: float | None, after: Place | None, stream: int) -> str:
    """The newest entry to read of a stream, as an end of XREVRANGE."""
    bound = None if until is None else int(until * 1000)
    if after is None or (bound is not None and bound < after.milliseconds):
        return "+" if bound is None else str(bound)
    # Of entries with the same id, the one of the stream with the highest number comes first.
    return after.entry if stream < after.stream else f"({after.entry}"


def _walk_one(
    client: redis.Redis, name: str, number: int, bounds: tuple[str, bytes], items: StreamItems, size: int
) -> Iterator[tuple[Place, bytes, dict[bytes, bytes]]]:
    """The entries of one stream. `items`: its first page, which was read with `size` entries at most.

    `bounds`: the oldest entry to read, as XREVRANGE takes it, and the oldest entry of the stream.
    """
    oldest, end = bounds
    while True:
        for entry_id, fields in items:
            yield Place(*id_order(entry_id), number), entry_id, fields
        if len(items) < size or items[-1][0] == end:
            return
        newest, size = "(" + items[-1][0].decode(), min(_PAGE, _GROWTH * size)
        with state_errors():
            items = cast("StreamItems", client.xrevrange(name, newest, oldest, count=size))
