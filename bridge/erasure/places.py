"""The places that may hold something about a person: what each step of an erasure reads and removes.

A step reads batch after batch and may be repeated at any point: what was removed is no longer found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol, cast

import redis

from bridge.config.model import Subscription
from bridge.erasure.person import Matcher, Trace
from bridge.journal.entries import StreamItems

__all__ = ["Batch", "Context", "Hit", "Place", "StreamPlace", "Units", "reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the steps work with."""

    client: redis.Redis
    partitions: int
    #: The person's source.
    source: str
    #: All subscriptions that have deliveries, including those that are no longer configured.
    subscriptions: Sequence[str]
    matcher: Matcher
    #: Those whose events are in tables.
    databases: Sequence[Subscription] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing to remove, or from which to remove the person."""

    #: What it is counted as.
    place: str
    #: Identifies it without naming a person; that of a stream entry ends in `:<stream id>`.
    reference: str
    #: What `Place.erase` needs.
    key: str
    item: Any = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read. `after`: position of the next batch; None: there is none."""

    hits: Sequence[Hit]
    after: str | None
    read: int
    traces: Sequence[Trace] = field(default=())


class Place(Protocol):
    """One step. The methods raise the errors of redis-py, and `Retryable` while they cannot go on."""

    def read(self, at: str, limit: int) -> Batch:
        """The batch at a position, "" for the first; changes nothing."""

    def erase(self, hits: Sequence[Hit]) -> None:
        """Remove what a batch has found; removing it again does nothing."""


class Units:
    """A place of several units, such as keys: one after the other, each with its own cursor."""

    def __init__(self, context: Context) -> None:
        self.context, self.client, self.matcher = context, context.client, context.matcher

    def units(self) -> Sequence[Any]:
        """The units, in an order that changes only with their number."""
        raise NotImplementedError

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        """A batch of one unit; its `after` is the next cursor in it."""
        raise NotImplementedError

    def read(self, at: str, limit: int) -> Batch:
        """See `Place`. A position is `<number of the unit>/<number of all>|<cursor>`."""
        place, _, cursor = at.partition("|")
        number, _, of = place.partition("/")
        index, units = int(number or 0), self.units()
        if of and int(of) != len(units):
            # Partitions or subscriptions have changed since the job began: what was not read may be anywhere.
            index, cursor = 0, ""
        if index >= len(units):
            return Batch((), None, 0)
        batch = self.read_unit(units[index], cursor, limit)
        if batch.after is not None:
            after: str | None = f"{index}/{len(units)}|{batch.after}"
        else:
            after = f"{index + 1}/{len(units)}|" if index + 1 < len(units) else None
        return Batch(batch.hits, after, batch.read, batch.traces)


class StreamPlace(Units):
    """Streams whose units are (key, what it is), oldest entry first."""

    #: Entries in one read at most: bodies may have 256 kB.
    most = 200

    def entry(self, unit: Any, entry: str, fields: dict[bytes, bytes]) -> tuple[Sequence[Hit], Sequence[Trace]]:
        """What one entry has about the person."""
        raise NotImplementedError

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        """See `Units`."""
        limit = min(limit, self.most)
        items = cast("StreamItems", self.client.xrange(unit[0], f"({cursor}" if cursor else "-", "+", count=limit))
        hits: list[Hit] = []
        traces: list[Trace] = []
        for entry, fields in items:
            entry_hits, learned = self.entry(unit, entry.decode(), fields)
            hits += entry_hits
            traces += learned
        after = items[-1][0].decode() if len(items) == limit else None
        return Batch(hits, after, len(items), traces)


def reference(*parts: str) -> str:
    """A reference that does not name what it is made from."""
    return sha256("\0".join(parts).encode()).hexdigest()[:16]
