"""Attempts that must be looked at again: open ones, ungraded ones, announced ones. When to look, not how."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from bridge import keys
from bridge.journal.publishing import state_errors
from bridge.vendor import Watch

__all__ = ["OpenWatch", "Watches"]

#: For how long a process may believe that a source has no watches before it asks again, seconds.
_EMPTY_SECONDS = 2.0

# In every script: KEYS[1] hash attempt id -> "<looks>|<opened>|<JSON of what may change>",
# KEYS[2] sorted set attempt id -> UNIX seconds of the next look. Both hold the same ids.

# ARGV: now, then id, due, JSON for each. A watch that is open keeps its looks and its schedule.
_OPEN = """
for i = 2, #ARGV, 3 do
  local old = redis.call("HGET", KEYS[1], ARGV[i])
  local head = old and string.match(old, "^%d+|[^|]*|") or ("0|" .. ARGV[1] .. "|")
  redis.call("HSET", KEYS[1], ARGV[i], head .. ARGV[i + 2])
  if not old then redis.call("ZADD", KEYS[2], ARGV[i + 1], ARGV[i]) end
end
"""

# ARGV: ids. Answer: how many watches are left.
_CLOSE = """
for _, id in ipairs(ARGV) do
  redis.call("HDEL", KEYS[1], id)
  redis.call("ZREM", KEYS[2], id)
end
return redis.call("ZCARD", KEYS[2])
"""

# ARGV: highest due time, limit. Answer: id, due, value, id, due, value ...
_DUE = """
local out = {}
local found = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[1], "WITHSCORES", "LIMIT", 0, ARGV[2])
for i = 1, #found, 2 do
  out[#out + 1] = found[i]
  out[#out + 1] = found[i + 1]
  out[#out + 1] = redis.call("HGET", KEYS[1], found[i])
end
return out
"""

# ARGV: id, looks so far, due. Closed meanwhile, or counted already by a repeated call: nothing to do.
_RESCHEDULE = """
local old = redis.call("HGET", KEYS[1], ARGV[1])
local looks, rest = string.match(old or "", "^(%d+)(|.*)$")
if looks ~= ARGV[2] then return 0 end
redis.call("HSET", KEYS[1], ARGV[1], string.format("%d", looks + 1) .. rest)
redis.call("ZADD", KEYS[2], ARGV[3], ARGV[1])
return 1
"""

# ARGV: id. Answer: was it open?
_GIVE_UP = """
redis.call("ZREM", KEYS[2], ARGV[1])
return redis.call("HDEL", KEYS[1], ARGV[1])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWatch:
    """One open watch. `due`, `give_up_at`, `opened_at`: UNIX seconds. `looks`: how often it was looked at."""

    attempt_id: str
    reference: Mapping[str, str]
    due: float
    give_up_at: float
    opened_at: float
    looks: int


class Watches:
    """The watches of all sources (`bridge.pipeline.WatchBook`). Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._open = client.register_script(_OPEN)
        self._close = client.register_script(_CLOSE)
        self._due = client.register_script(_DUE)
        self._reschedule = client.register_script(_RESCHEDULE)
        self._give_up = client.register_script(_GIVE_UP)
        #: source -> until when this process takes it for empty
        self._empty_until: dict[str, float] = {}

    def open(self, source: str, attempt_id: str, watch: Watch, *, now: float) -> None:
        """Look at this attempt again; opening an open watch renews its reference, never its schedule."""
        self.open_many(source, {attempt_id: watch}, now=now)

    def open_many(self, source: str, watches: Mapping[str, Watch], *, now: float) -> None:
        """`open` for attempt id -> watch, in one round trip. A watch past its deadline is not opened."""
        args: list[str] = [repr(now)]
        for attempt_id, watch in watches.items():
            if watch.give_up_at <= now:
                continue
            facts = {"reference": dict(watch.reference), "give_up_at": watch.give_up_at}
            due = min(now + watch.due_in, watch.give_up_at)
            args += [attempt_id, repr(due), json.dumps(facts, separators=(",", ":"))]
        if len(args) == 1:
            return
        with state_errors():
            self._open(keys=_keys(source), args=args)
        self._empty_until.pop(source, None)

    def close(self, source: str, attempt_id: str, *, now: float) -> None:
        """Nothing more to look for; closing what is not open does nothing."""
        self.close_many(source, (attempt_id,), now=now)

    def close_many(self, source: str, attempt_ids: Sequence[str], *, now: float) -> None:
        """`close` for several attempts, in one round trip or none.

        None: this is called for every published attempt, and most sources have no watch most of the time. A watch
        that another process opened within the last seconds may so stay open; its next look finds the attempt settled.
        """
        if not attempt_ids or now < self._empty_until.get(source, 0.0):
            return
        with state_errors():
            left = cast("int", self._close(keys=_keys(source), args=list(attempt_ids)))
        if left == 0:
            self._empty_until[source] = now + _EMPTY_SECONDS

    def due(self, source: str, now: float, limit: int) -> tuple[OpenWatch, ...]:
        """At most `limit` watches whose time has come, the most overdue first."""
        return self._read(source, repr(now), limit)

    def due_count(self, source: str, now: float) -> int:
        """How many watches are due."""
        with state_errors():
            return self.client.zcount(keys.watch_due(source), "-inf", repr(now))

    def list(self, source: str) -> tuple[OpenWatch, ...]:
        """All open watches, the next to be looked at first."""
        return self._read(source, "+inf", -1)

    def looked(self, source: str, watch: OpenWatch, schedule: Sequence[float], now: float) -> str:
        """Count a look at `watch` and set the next one by the vendor's `recheck_schedule`, whose last entry repeats.

        The last look is at `give_up_at`, then the watch is removed. Answers `later`, `given_up`, or `closed` when the
        watch was closed meanwhile, for example by what the look found.
        """
        if now >= watch.give_up_at:
            with state_errors():
                return "given_up" if self._give_up(keys=_keys(source), args=[watch.attempt_id]) else "closed"
        due = min(now + schedule[min(watch.looks, len(schedule) - 1)], watch.give_up_at)
        with state_errors():
            still = self._reschedule(keys=_keys(source), args=[watch.attempt_id, watch.looks, repr(due)])
        return "later" if still else "closed"

    def _read(self, source: str, highest: str, limit: int) -> tuple[OpenWatch, ...]:
        with state_errors():
            found = cast("Sequence[bytes]", self._due(keys=_keys(source), args=[highest, limit]))
        return tuple(_watch(*found[at : at + 3]) for at in range(0, len(found), 3))


def _keys(source: str) -> list[str]:
    return [keys.watch(source), keys.watch_due(source)]


def _watch(attempt_id: bytes, due: bytes, value: bytes) -> OpenWatch:
    looks, opened_at, facts = value.decode().split("|", 2)
    stored = json.loads(facts)
    return OpenWatch(
        attempt_id=attempt_id.decode(),
        reference=stored["reference"],
        due=float(due),
        give_up_at=stored["give_up_at"],
        opened_at=float(opened_at),
        looks=int(looks),
    )
