"""Reads a stream page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import redis

from bridge.journal.entries import StreamItems
from bridge.state.errors import state_errors

__all__ = ["id_order", "is_before", "read_stream"]

_LAST_SEQUENCE = 2**64 - 1


def read_stream(
    client: redis.Redis, stream: str, first: str = "-", last: str = "+", *, page: int, newest_first: bool = True
) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of a stream with ids in [first, last]; each page of `page` entries is read when it is needed.

    Raises `StateUnavailable`.
    """
    with state_errors():
        oldest = cast("StreamItems", client.xrange(stream, count=1)) if newest_first and last != "+" else []
    if oldest and is_before(last, oldest[0][0]):
        return
    while True:
        with state_errors():
            if newest_first:
                answer = client.xrevrange(stream, last, first, count=page)
            else:
                answer = client.xrange(stream, first, last, count=page)
        items = cast("StreamItems", answer)
        yield from items
        if len(items) < page:
            return
        beyond = "(" + items[-1][0].decode()
        first, last = (first, beyond) if newest_first else (beyond, last)


def id_order(entry_id: bytes) -> tuple[int, int]:
    """The sort key of a stream id."""
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence)


def is_before(newest: str, entry: bytes) -> bool:
    """Whether an end of XREVRANGE lies before an entry.

    If the entry is the oldest one, the server would read the whole stream from its end and find nothing.
    """
    if newest == "+":
        return False
    place, exclusive = newest.removeprefix("("), newest.startswith("(")
    # An end without a sequence means the last entry of the millisecond.
    end = id_order(place.encode()) if "-" in place else (int(place), _LAST_SEQUENCE)
    return end < id_order(entry) or (exclusive and end == id_order(entry))
