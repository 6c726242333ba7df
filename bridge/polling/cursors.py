"""The cursor of every stream of a source, and reports of its last polling rounds."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import redis

from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.stored_json import record_or_none

__all__ = ["HISTORY", "Cursors", "RoundReport", "StreamPosition"]

#: Rounds kept per source: `HISTORY`, or `ROUNDS_PER_STREAM` times the number of its streams if that is more.
HISTORY, ROUNDS_PER_STREAM = 100, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPosition:
    """How far one stream has been read. Moments are UNIX seconds; None: never."""

    #: Where the last finished round ended.
    cursor: str | None = None
    #: Where an unfinished round continues.
    resume: str | None = None
    #: When the round that saved last began.
    began: float | None = None
    #: When a round last saved.
    saved: float | None = None
    #: When a process last started to poll.
    started: float | None = None
    #: Rounds in a row that failed at the page where the round continues.
    faults: int = 0
    #: How often a round has started over since one was finished.
    restarts: int = 0


@dataclass(slots=True, kw_only=True)
class RoundReport:
    """One round over one stream, as it is stored."""

    #: Name of the stream.
    stream: str
    #: Where the round began to read.
    from_cursor: str
    #: Where it ended.
    to_cursor: str
    #: When it began, UNIX seconds.
    started: float
    #: How long it took.
    seconds: float = 0.0
    #: Number of records read.
    records: int = 0
    #: Outcome of publishing -> number of records.
    outcomes: dict[str, int] = field(default_factory=dict)
    #: Calls that cost budget.
    calls: int = 0
    #: Why it stopped before the last page, in one line; None: it read all pages.
    error: str | None = None
    #: Parts of the list, such as schedules, that could not be read so far -> why; their place is kept.
    unread: dict[str, str] = field(default_factory=dict)


class Cursors:
    """The stream positions of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._record_round = scripts.register(client, __file__, "record_round")

    def load(self, source: str, stream: str) -> str | None:
        """The cursor of the next page, before any overlap; None: this stream was never polled."""
        position = self.position(source, stream)
        return position.resume or position.cursor

    def position(self, source: str, stream: str) -> StreamPosition:
        """How far one stream has been read."""
        return self.positions(source, [stream])[stream]

    def positions(self, source: str, streams: Collection[str]) -> dict[str, StreamPosition]:
        """The same for several, in one round trip."""
        pipe = self.client.pipeline(transaction=False)
        for stream in streams:
            pipe.hgetall(keys.cursor(source, stream))
        with state_errors():
            stored = cast("list[dict[bytes, bytes]]", pipe.execute() if streams else [])
        return dict(zip(streams, map(_position, stored), strict=True))

    def begin(self, source: str, stream: str, now: float) -> None:
        """Record that polling this stream starts now."""
        with state_errors():
            self.client.hset(keys.cursor(source, stream), "started", repr(now))

    def restore_start(self, source: str, stream: str, started: float | None) -> None:
        """Undo `begin`: nothing was read, because no call was left. `started`: what it was before."""
        name = keys.cursor(source, stream)
        with state_errors():
            if started is None:
                self.client.hdel(name, "started")
            else:
                self.client.hset(name, "started", repr(started))

    def keep_items(self, source: str, streams: Collection[str]) -> list[str]:
        """Forget the positions of items that are no longer listed; returns their streams.

        `streams`: those of all listed items. One that is listed again later starts like a new one.
        """
        name = keys.cursor_items(source)
        with state_errors():
            known = {stream.decode() for stream in cast("set[bytes]", self.client.smembers(name))}
            gone, new = sorted(known - set(streams)), sorted(set(streams) - known)
            if gone or new:
                pipe = self.client.pipeline(transaction=True)
                if gone:
                    pipe.delete(*(keys.cursor(source, stream) for stream in gone))
                    pipe.srem(name, *gone)
                if new:
                    pipe.sadd(name, *new)
                pipe.execute()
        return gone

    def save(
        self, source: str, stream: str, cursor: str, now: float, *, began: float | None = None, midway: bool = False
    ) -> None:
        """Move the cursor, after the page is published. `midway`: the round, which began at `began`, has more pages."""
        # One HSET is one atomic step: a reader never sees the new cursor with the old round's `resume`.
        items = ["began", repr(now if began is None else began), "saved", repr(now)]
        items += ["resume", cursor] if midway else ["cursor", cursor, "resume", "", "restarts", "0"]
        items += ["faults", "0"]
        with state_errors():
            self.client.hset(keys.cursor(source, stream), items=items)

    def fail(self, source: str, stream: str, *, restart: bool) -> None:
        """Record that a page could not be read. The next round continues there; with `restart` it starts over, an
        overlap before the end of the last finished round."""
        name = keys.cursor(source, stream)
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hincrby(name, "faults", 1)
            if restart:
                pipe.hset(name, items=["resume", "", "faults", "0"])
                pipe.hincrby(name, "restarts", 1)
            pipe.execute()

    def record_round(self, source: str, report: RoundReport, *, streams: int = 1) -> None:
        """Store a round. `streams`: how many the source has, which decides how many of its rounds are kept."""
        line = json.dumps(asdict(report), separators=(",", ":"))
        kept = max(HISTORY, ROUNDS_PER_STREAM * streams)
        with state_errors():
            self._record_round(keys=[keys.cursor_history(source)], args=[line, kept])

    def history(self, source: str, *, limit: int = 0) -> list[RoundReport]:
        """The last rounds of all streams of a source, newest first; `limit` 0: all that are kept."""
        with state_errors():
            lines = cast("list[bytes]", self.client.lrange(keys.cursor_history(source), 0, limit - 1))
        return [report for line in lines if (report := _report(source, line)) is not None]

    def last_rounds(self, sources: Sequence[str]) -> dict[str, RoundReport | None]:
        """The newest round of each source, in one round trip."""
        pipe = self.client.pipeline(transaction=False)
        for source in sources:
            pipe.lindex(keys.cursor_history(source), 0)
        with state_errors():
            lines = cast("list[bytes | None]", pipe.execute() if sources else [])
        return {
            source: None if line is None else _report(source, line) for source, line in zip(sources, lines, strict=True)
        }


def _report(source: str, line: bytes) -> RoundReport | None:
    return record_or_none(RoundReport, line, place=keys.cursor_history(source))


def _position(fields: Mapping[bytes, bytes]) -> StreamPosition:
    stored = {name.decode(): value.decode() for name, value in fields.items()}
    moments = {name: float(stored[name]) if name in stored else None for name in ("began", "saved", "started")}
    return StreamPosition(
        cursor=stored.get("cursor"),
        resume=stored.get("resume") or None,
        faults=int(stored.get("faults") or 0),
        restarts=int(stored.get("restarts") or 0),
        **moments,
    )
