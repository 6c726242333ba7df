"""The state of a source and the journal before the vendor was asked: its answer may be older than a webhook."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from bridge.ingest.context import IngestContext
from bridge.journal.paging import id_order
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["ReadStart", "read_start"]


@dataclass(frozen=True, slots=True)
class ReadStart:
    """That state; see `read_start`."""

    #: `Watches.version`: what was urged since then stays watched.
    version: int
    #: Id of the last entry of the journal, by partition: what was published since then may be newer than the answer.
    journal_ends: tuple[str, ...]

    def is_before(self, entry_id: str) -> bool:
        """Whether this entry, of whatever partition, may have been published since then."""
        return id_order(entry_id.encode()) > min(id_order(end.encode()) for end in self.journal_ends)


def read_start(context: IngestContext) -> ReadStart:
    """Call it before each request to the vendor whose answer `ingest` is given. Raises `StateUnavailable`."""
    name, client = context.source.name, context.watches.client
    with state_errors():
        pipe = client.pipeline(transaction=False)
        pipe.get(keys.watch_version(name))
        for partition in range(context.bridge.partitions):
            pipe.xinfo_stream(keys.journal(partition))
        version, *streams = pipe.execute(raise_on_error=False)
        if isinstance(version, Exception):
            raise version
        return ReadStart(int(version or 0), tuple(map(_end, streams)))


def _end(stream: dict[str, bytes] | Exception) -> str:
    if isinstance(stream, redis.ResponseError) and "no such key" in str(stream):
        return "0-0"
    if isinstance(stream, Exception):
        raise stream
    return stream["last-generated-id"].decode()
