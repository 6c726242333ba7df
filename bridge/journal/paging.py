"""Reads a stream page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import redis

from bridge.journal.entries import StreamItems
from bridge.state.errors import state_errors

__all__ = ["id_order", "read_stream"]


def read_stream(
    client: redis.Redis, stream: str, first: str = "-", last: str = "+", *, page: int, newest_first: bool = True
) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of a stream with ids in [first, last]; each page of `page` entries is read when it is needed.

    Raises `StateUnavailable`.
    """
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
