"""Where polling stands: the cursor of every stream and the last rounds, for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import cast

import redis

from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["HISTORY", "Cursors", "RoundReport", "StreamPosition"]

#: Rounds remembered per source.
HISTORY = 100

# Keyed by the round itself: repeated after a lost reply, the same round stands there once.
_RECORD = """
if redis.call("LINDEX", KEYS[1], 0) ~= ARGV[1] then
  redis.call("LPUSH", KEYS[1], ARGV[1])
  redis.call("LTRIM", KEYS[1], 0, ARGV[2] - 1)
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPosition:
    """Where one stream stands. Moments are UNIX seconds, None: never.

    `cursor`: where the last finished round ended. `resume`: where an unfinished round goes on.
    `began`, `saved`: when the round that saved last began, and when it saved. `started`: the last time anybody polled.
    """

    cursor: str | None = None
    resume: str | None = None
    began: float | None = None
    saved: float | None = None
    started: float | None = None


@dataclass(slots=True, kw_only=True)
class RoundReport:
    """One round over one stream: cursors, what became of the records, calls made, start (UNIX seconds), seconds taken.

    `error`: one line why the round stopped before the vendor had no more pages; None: it came to its end.
    """

    stream: str
    from_cursor: str
    to_cursor: str
    started: float
    seconds: float = 0.0
    records: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    error: str | None = None


class Cursors:
    """The cursors of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._record = client.register_script(_RECORD)

    def load(self, source: str, stream: str) -> str | None:
        """Where the next page would be read from, before any overlap; None: this stream was never polled."""
        position = self.position(source, stream)
        return position.resume or position.cursor

    def position(self, source: str, stream: str) -> StreamPosition:
        """All that is known about one stream."""
        with state_errors():
            found = cast("dict[bytes, bytes]", self.client.hgetall(keys.cursor(source, stream)))
        stored = {name.decode(): value.decode() for name, value in found.items()}
        moments = {name: float(stored[name]) if name in stored else None for name in ("began", "saved", "started")}
        return StreamPosition(cursor=stored.get("cursor"), resume=stored.get("resume") or None, **moments)

    def begin(self, source: str, stream: str, now: float) -> None:
        """Note that somebody polls this stream now."""
        with state_errors():
            self.client.hset(keys.cursor(source, stream), "started", repr(now))

    def save(
        self, source: str, stream: str, cursor: str, now: float, *, began: float | None = None, midway: bool = False
    ) -> None:
        """Move the cursor; call it once the page is published. `midway`: the round that `began` then has more pages."""
        # One HSET, hence one atomic step: a reader never sees the new cursor with the old round's `resume`.
        items = ["began", repr(now if began is None else began), "saved", repr(now)]
        items += ["resume", cursor] if midway else ["cursor", cursor, "resume", ""]
        with state_errors():
            self.client.hset(keys.cursor(source, stream), items=items)

    def restart(self, source: str, stream: str) -> None:
        """Forget where an unfinished round stood: the next one starts an overlap before the last finished one's end."""
        with state_errors():
            self.client.hset(keys.cursor(source, stream), "resume", "")

    def record_round(self, source: str, report: RoundReport) -> None:
        """Remember a round; the newest `HISTORY` are kept."""
        line = json.dumps(asdict(report), separators=(",", ":"))
        with state_errors():
            self._record(keys=[keys.cursor_history(source)], args=[line, HISTORY])

    def history(self, source: str) -> list[RoundReport]:
        """The last rounds over all streams of a source, newest first."""
        with state_errors():
            lines = cast("list[bytes]", self.client.lrange(keys.cursor_history(source), 0, -1))
        return [RoundReport(**json.loads(line)) for line in lines]
