"""Quarantine: requests and records that are authentic but unreadable, stored with their bytes and the reason."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import cast

import redis
from redis.client import Pipeline

from bridge.errors import clip
from bridge.journal.entries import WEBHOOK, Quarantined, StreamItems
from bridge.journal.paging import read_stream
from bridge.journal.search import Place, walk_back
from bridge.state import counts, keys, scripts
from bridge.state.errors import state_errors

__all__ = ["QuarantineStore", "add_removal", "expired_key", "known_key", "quarantined"]

_PAGE = 200


def known_key() -> str:
    """Sorted set of digests in quarantine, so that a record that every poll reads again is stored once."""
    return keys.quarantine(0) + ":known"


def expired_key() -> str:
    """String: number of items that were deleted for their age."""
    return keys.quarantine(0) + ":expired"


class QuarantineStore:
    """Quarantined items, all in partition 0: they are few and belong to no known attempt."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._script = scripts.register(client, __file__, "quarantine", after=counts.ADD_COUNTS)

    def add(
        self, *, source: str, origin: str, reason: str, body: bytes, now: float, request_id: str | None = None
    ) -> None:
        """Store an item durably; the same bytes of the same source once. Raises `StateUnavailable`."""
        digest = blake2b(source.encode() + b"\x00" + body, digest_size=16).digest()
        fields: list[str | bytes | float] = ["source", source, "origin", origin, "reason", clip(reason)]
        fields += ["at", f"{now:.3f}", "request", request_id or "", "body", body]
        # A request is counted where it is stored.
        counted = "" if origin == WEBHOOK else f"{source}|{origin}|quarantined"
        names = [keys.quarantine(0), known_key(), *counts.names(keys.counts, 0, now)]
        with state_errors():
            self._script(keys=names, args=[digest, now, counted, *fields])

    def size(self) -> int:
        """The number of items. Raises `StateUnavailable`."""
        with state_errors():
            return self.client.xlen(keys.quarantine(0))

    def expired(self) -> int:
        """The number of items that were deleted for their age. Raises `StateUnavailable`."""
        with state_errors():
            return int(cast("bytes | None", self.client.get(expired_key())) or 0)

    def list(self, *, source: str | None = None) -> Iterator[Quarantined]:
        """The items, newest first; each page is read when it is needed. Raises `StateUnavailable`."""
        for entry_id, fields in read_stream(self.client, keys.quarantine(0), page=_PAGE):
            item = quarantined(entry_id, fields)
            if source is None or item.source == source:
                yield item

    def newest_first(
        self, *, since: float | None, until: float | None, after: Place | None
    ) -> Iterator[tuple[Place, int, Quarantined]]:
        """(place, bytes, item), as `bridge.journal.search` takes them. Raises `StateUnavailable`."""

        def read(entry_id: bytes, fields: dict[bytes, bytes], _: int) -> Quarantined:
            return quarantined(entry_id, fields)

        return walk_back(self.client, [keys.quarantine(0)], read, since=since, until=until, after=after)

    def find(self, entry_id: str) -> Quarantined | None:
        """The item with this stream id, or None. Raises `StateUnavailable`."""
        with state_errors():
            items = cast("StreamItems", self.client.xrange(keys.quarantine(0), entry_id, entry_id))
        return quarantined(*items[0]) if items else None

    def remove(self, entry: Quarantined) -> None:
        """Delete an item whose bytes have been read successfully since. Raises `StateUnavailable`."""
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            add_removal(pipe, entry)
            pipe.execute()


def add_removal(pipe: Pipeline, entry: Quarantined) -> None:
    """Add the removal of an item to a transaction."""
    digest = blake2b(entry.source.encode() + b"\x00" + entry.body, digest_size=16).digest()
    pipe.xdel(keys.quarantine(0), entry.entry_id)
    pipe.zrem(known_key(), digest)


def quarantined(entry_id: bytes, fields: dict[bytes, bytes]) -> Quarantined:
    """The item of a stream entry as redis-py returns it."""
    return Quarantined(
        entry_id=entry_id.decode(),
        source=fields[b"source"].decode(),
        origin=fields[b"origin"].decode(),
        reason=fields[b"reason"].decode(),
        body=fields[b"body"],
        received_at=float(fields[b"at"]),
        request_id=fields[b"request"].decode() or None,
    )
