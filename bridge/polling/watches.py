"""What must be looked at again: open and ungraded attempts, what webhooks point to, what operators expect, and settled
attempts that may still change. When to look and what first, not how.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from bridge.sdk.records import Pointer, Watch
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.negative_cache import KnownEmpty

__all__ = ["ATTEMPT", "EXPECTATION", "POINTER", "REREAD", "UNGRADED", "OpenWatch", "Watches"]

#: Kinds of watches: an open attempt; one that an operator expects; one that a webhook points to; one that is published
#: without its last grade; and one that is settled and only might change.
ATTEMPT, EXPECTATION, POINTER, UNGRADED, REREAD = "attempt", "expectation", "pointer", "ungraded", "reread"
#: For how long a process may believe that a source has no watches before it asks again, seconds.
_EMPTY_SECONDS = 0.25

# In every script: KEYS[1] hash key -> "<looks>|<opened>|<kind>|<JSON of what may change>", KEYS[2..4] sorted sets
# key -> UNIX seconds of the next look: of open attempts and expectations, of pointers, of what is published and may
# change. A key stands in exactly one of the three, that of its kind.
_QUEUES = """
local QUEUE = { attempt = KEYS[2], expectation = KEYS[2], pointer = KEYS[3],
  ungraded = KEYS[4], reread = KEYS[4] }
local function parse(value)
  return string.match(value or "", "^(%d+)|([^|]*)|(%a+)|(.*)$")
end
local function remove(key)
  for i = 2, 4 do redis.call("ZREM", KEYS[i], key) end
  return redis.call("HDEL", KEYS[1], key)
end
"""

# ARGV: now, then key, due, kind, JSON for each. A watch of the same kind that is open keeps its looks and its schedule.
_OPEN = (
    _QUEUES
    + """
for i = 2, #ARGV, 4 do
  local key, due, kind, facts = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local looks, opened, was = parse(redis.call("HGET", KEYS[1], key))
  if was ~= kind then
    if was then remove(key) end
    looks = "0"
    redis.call("ZADD", QUEUE[kind], due, key)
  end
  redis.call("HSET", KEYS[1], key, looks .. "|" .. (opened or ARGV[1]) .. "|" .. kind .. "|" .. facts)
end
"""
)

# ARGV: now, then key, due, kind, JSON for each. Look at it by `due` at the latest; an open watch keeps its kind and
# what it knows, but its schedule begins anew.
_URGE = (
    _QUEUES
    + """
for i = 2, #ARGV, 4 do
  local key, due, kind, facts = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local looks, opened, was, old = parse(redis.call("HGET", KEYS[1], key))
  if was == "reread" then
    remove(key)
    was, old = nil, nil
  end
  redis.call("HSET", KEYS[1], key, "0|" .. (opened or ARGV[1]) .. "|" .. (was or kind) .. "|" .. (old or facts))
  redis.call("ZADD", QUEUE[was or kind], "LT", due, key)
end
"""
)

# ARGV: kind ("" = any), then keys. Answer: how many watches are left.
_CLOSE = (
    _QUEUES
    + """
for i = 2, #ARGV do
  local _, _, kind = parse(redis.call("HGET", KEYS[1], ARGV[i]))
  if kind and (ARGV[1] == "" or ARGV[1] == kind) then remove(ARGV[i]) end
end
return redis.call("HLEN", KEYS[1])
"""
)

# KEYS[1] hash, KEYS[2] one of the queues. ARGV: highest due time, limit. Answer: key, due, value, key, due, value ...
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

# ARGV: key, looks so far, due ("" = give up). Answer: done? Closed meanwhile, or counted by a repeated call: no.
_LOOKED = (
    _QUEUES
    + """
local looks, opened, kind, facts = parse(redis.call("HGET", KEYS[1], ARGV[1]))
if looks ~= ARGV[2] or kind ~= ARGV[3] then return 0 end
if ARGV[4] == "" then return remove(ARGV[1]) end
redis.call("HSET", KEYS[1], ARGV[1], string.format("%d", looks + 1) .. "|" .. opened .. "|" .. kind .. "|" .. facts)
redis.call("ZADD", QUEUE[kind], ARGV[4], ARGV[1])
return 1
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWatch:
    """One open watch. `key`: the attempt id, or a vendor's key that begins with `?`. `kind`: one of the five above.

    `due`, `give_up_at`, `opened_at`: UNIX seconds. `looks`: how often it was looked at since it was last urged.
    """

    key: str
    kind: str
    reference: Mapping[str, str]
    due: float
    give_up_at: float
    opened_at: float
    rechecks: int


class Watches:
    """The watches of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._open = client.register_script(_OPEN)
        self._urge = client.register_script(_URGE)
        self._close = client.register_script(_CLOSE)
        self._due = client.register_script(_DUE)
        self._looked = client.register_script(_LOOKED)
        self._empty = KnownEmpty(_EMPTY_SECONDS)

    def open(self, source: str, key: str, watch: Watch, *, now: float) -> None:
        """Look at this attempt again; opening an open watch renews its reference, never its schedule."""
        self.open_many(source, {key: watch}, now=now)

    def open_many(
        self, source: str, watches: Mapping[str, Watch], *, now: float, published: Container[str] = ()
    ) -> None:
        """`open` for attempt id -> watch, in one round trip. A watch past its deadline is not opened.

        `published`: the ids of attempts whose completion is news already, which makes their watches less urgent.
        """
        args: list[str] = []
        for key, watch in watches.items():
            if watch.give_up_at > now:
                due = min(now + watch.due_in, watch.give_up_at)
                kind = REREAD if watch.reread else UNGRADED if key in published else ATTEMPT
                args += [key, repr(due), kind, _facts(watch.reference, watch.give_up_at)]
        self._run(self._open, source, args, now)

    def add_pointers(self, source: str, pointers: Sequence[Pointer], *, now: float) -> None:
        """Look where the webhooks point, now. What is watched already is looked at now."""
        args: list[str] = []
        for pointer in pointers:
            facts = _facts(pointer.reference, now + pointer.give_up_after)
            args += [pointer.key, repr(now), POINTER, facts]
        self._run(self._urge, source, args, now)

    def expect(self, source: str, pointers: Sequence[Pointer], *, due: float, deadline: float, now: float) -> None:
        """Look for what an operator expects, from `due` until `deadline` (UNIX seconds)."""
        args: list[str] = []
        for pointer in pointers:
            args += [pointer.key, repr(due), EXPECTATION, _facts(pointer.reference, deadline)]
        self._run(self._urge, source, args, now)

    def close(self, source: str, key: str, *, now: float) -> None:
        """Nothing more to look for; closing what is not open does nothing."""
        self.close_many(source, (key,), now=now)

    def close_many(self, source: str, found: Sequence[str], *, now: float, kind: str | None = None) -> None:
        """`close` for several keys, of one kind or of any, in one round trip or none.

        None: this is called for every published attempt, and most sources have no watch most of the time. A watch
        that another process opened a moment ago may so stay open; its next look finds the attempt settled.
        """
        if not found or self._empty.believed(source, now):
            return
        with state_errors():
            left = cast("int", self._close(keys=_keys(source), args=[kind or "", *found]))
        self._empty.heard(source, now, empty=left == 0)

    def due(self, source: str, now: float, limit: int) -> tuple[OpenWatch, ...]:
        """At most `limit` watches whose time has come, in the order of their looks: open attempts and expectations, the
        most overdue first, then pointers, then what may change. Pointers get up to half of the room: they are sure."""
        overdue, pointers, rereads = (self._read(source, queue, repr(now), limit) for queue in _keys(source)[1:])
        room = max(limit - len(overdue), min(len(pointers), limit // 2))
        chosen = (*overdue[: limit - min(room, len(pointers))], *pointers[:room])
        return (*chosen, *rereads[: limit - len(chosen)])

    def due_count(self, source: str, now: float) -> int:
        """How many watches are due."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for queue in _keys(source)[1:]:
                pipe.zcount(queue, "-inf", repr(now))
            return sum(pipe.execute())

    def waiting(self, sources: Sequence[str], now: float) -> list[str]:
        """Those of the sources that have a watch whose time has come, in one round trip."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for source in sources:
                for queue in _keys(source)[1:]:
                    pipe.zcount(queue, "-inf", repr(now))
            counts = pipe.execute()
        return [source for at, source in enumerate(sources) if any(counts[3 * at : 3 * at + 3])]

    def list(self, source: str) -> tuple[OpenWatch, ...]:
        """All open watches, the next to be looked at first."""
        queues = (self._read(source, queue, "+inf", -1) for queue in _keys(source)[1:])
        return tuple(sorted((watch for queue in queues for watch in queue), key=lambda watch: (watch.due, watch.key)))

    def record_recheck(self, source: str, watch: OpenWatch, schedule: Sequence[float], now: float) -> str:
        """Count a look at `watch` and set the next one by `schedule` (seconds), whose last entry repeats.

        The last look is at `give_up_at`, then the watch is removed. Answers `later`, `given_up`, or `closed` when the
        watch was closed or opened anew meanwhile, for example by what the look found.
        """
        over = now >= watch.give_up_at
        due = min(now + schedule[min(watch.rechecks, len(schedule) - 1)], watch.give_up_at)
        with state_errors():
            done = self._looked(
                keys=_keys(source), args=[watch.key, watch.rechecks, watch.kind, "" if over else repr(due)]
            )
        if not done:
            return "closed"
        return "given_up" if over else "later"

    def postpone(self, source: str, watch: OpenWatch, due: float) -> None:
        """Look at `watch` later although nothing was seen: it does not count as a look. A closed one stays closed."""
        with state_errors():
            self.client.zadd(_queue(source, watch.kind), {watch.key: due}, xx=True)

    def _run(self, script: redis.commands.core.Script, source: str, args: Sequence[str], now: float) -> None:
        if not args:
            return
        with state_errors():
            script(keys=_keys(source), args=[repr(now), *args])
        self._empty.forget(source)

    def _read(self, source: str, queue: str, highest: str, limit: int) -> tuple[OpenWatch, ...]:
        with state_errors():
            found = cast("Sequence[bytes]", self._due(keys=[keys.watch(source), queue], args=[highest, limit]))
        return tuple(_watch(*found[at : at + 3]) for at in range(0, len(found), 3))


def _keys(source: str) -> list[str]:
    return [keys.watch(source), *(keys.watch_due(source, queue) for queue in ("due", "pointers", "rereads"))]


def _queue(source: str, kind: str) -> str:
    names = {POINTER: "pointers", UNGRADED: "rereads", REREAD: "rereads"}
    return keys.watch_due(source, names.get(kind, "due"))


def _facts(reference: Mapping[str, str], give_up_at: float) -> str:
    return json.dumps({"reference": dict(reference), "give_up_at": give_up_at}, separators=(",", ":"))


def _watch(key: bytes, due: bytes, value: bytes) -> OpenWatch:
    rechecks, opened_at, kind, facts = value.decode().split("|", 3)
    stored = json.loads(facts)
    return OpenWatch(
        key=key.decode(),
        kind=kind,
        reference=stored["reference"],
        due=float(due),
        give_up_at=stored["give_up_at"],
        opened_at=float(opened_at),
        rechecks=int(rechecks),
    )
