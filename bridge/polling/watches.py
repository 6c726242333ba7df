"""Watches: attempts to recheck, when, and in which order. `workers/polling/recheck.py` rechecks them."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import redis
from redis.commands.core import Script

from bridge.sdk.records import Pointer, Watch
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.negative_cache import NegativeCache
from bridge.text import cleaned

__all__ = ["ATTEMPT", "EXPECTATION", "POINTER", "REREAD", "UNGRADED", "OpenWatch", "Watches"]

#: Kinds of watches: an open attempt, an attempt that an operator expects, an attempt that a webhook points to, an
#: attempt published before its final grade, and a settled attempt that may still change.
ATTEMPT, EXPECTATION, POINTER, UNGRADED, REREAD = "attempt", "expectation", "pointer", "ungraded", "reread"
#: How long a process may assume that a source has no watches, seconds.
_EMPTY_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWatch:
    """One open watch. Moments are UNIX seconds."""

    #: The attempt id, or a vendor's key that begins with `?`.
    key: str
    #: One of the five kinds above.
    kind: str
    #: What the vendor's API needs to find the attempt.
    reference: Mapping[str, str]
    #: When the next recheck is due.
    due: float
    #: When the last recheck is due.
    give_up_at: float
    #: When the watch was opened.
    opened_at: float
    #: Number of rechecks since its schedule last began.
    rechecks: int


class Watches:
    """The watches of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._open = _script(client, "open_watches")
        self._recheck_soon = _script(client, "recheck_soon")
        self._close = _script(client, "close_watches")
        self._due = scripts.register(client, __file__, "due_watches")
        self._record_recheck = _script(client, "record_recheck")
        self._empty = NegativeCache(_EMPTY_SECONDS)

    def open(self, source: str, key: str, watch: Watch, *, now: float) -> None:
        """Recheck this attempt from now on. Opening an open watch replaces its reference and keeps its schedule."""
        self.open_many(source, {key: watch}, now=now)

    def open_many(
        self, source: str, watches: Mapping[str, Watch], *, now: float, published: Container[str] = ()
    ) -> None:
        """`open` for attempt id -> watch, in one round trip. A watch past its deadline is not opened.

        `published`: ids of attempts whose completion is published already, which makes their watches less urgent.
        """
        args: list[str] = []
        for key, watch in watches.items():
            if watch.give_up_at > now:
                due = min(now + watch.due_in, watch.give_up_at)
                kind = REREAD if watch.reread else UNGRADED if key in published else ATTEMPT
                args += [key, repr(due), kind, _details(watch.reference, watch.give_up_at)]
        self._run(self._open, source, args, now)

    def add_pointers(self, source: str, pointers: Sequence[Pointer], *, now: float) -> None:
        """Recheck what webhooks point to, now; a watch that is open already becomes due now."""
        args: list[str] = []
        for pointer in pointers:
            details = _details(pointer.reference, now + pointer.give_up_after)
            args += [pointer.key, repr(now), POINTER, details]
        self._run(self._recheck_soon, source, args, now)

    def expect(self, source: str, pointers: Sequence[Pointer], *, due: float, deadline: float, now: float) -> None:
        """Recheck what an operator expects, from `due` until `deadline` (UNIX seconds)."""
        args: list[str] = []
        for pointer in pointers:
            args += [pointer.key, repr(due), EXPECTATION, _details(pointer.reference, deadline)]
        self._run(self._recheck_soon, source, args, now)

    def close(self, source: str, key: str, *, now: float) -> None:
        """Stop rechecking; closing a watch that is not open does nothing."""
        self.close_many(source, (key,), now=now)

    def close_many(self, source: str, closed: Sequence[str], *, now: float, kind: str | None = None) -> None:
        """`close` for several keys, of one kind or of any, in one round trip or none.

        None if the source was just known to have no watches: this is called for every published attempt. So a watch
        that another process opened a moment ago may stay open; its next recheck finds the attempt settled.
        """
        if not closed or self._empty.is_known_empty(source, now):
            return
        with state_errors():
            left = cast("int", self._close(keys=_keys(source), args=[kind or "", *closed]))
        self._empty.record(source, now, empty=left == 0)

    def due(self, source: str, now: float, limit: int) -> tuple[OpenWatch, ...]:
        """At most `limit` due watches, in the order of their rechecks.

        Open attempts and expectations first, the most overdue at the front, then pointers, then attempts that may
        change. Pointers get up to half of the places: a webhook has said that there is something to read.
        """
        overdue, pointers, rereads = (self._read(source, queue, repr(now), limit) for queue in _keys(source)[1:])
        for_pointers = min(len(pointers), max(limit - len(overdue), limit // 2))
        first = (*overdue[: limit - for_pointers], *pointers[:for_pointers])
        return (*first, *rereads[: limit - len(first)])

    def due_count(self, source: str, now: float) -> int:
        """The number of watches that are due."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for queue in _keys(source)[1:]:
                pipe.zcount(queue, "-inf", repr(now))
            return sum(pipe.execute())

    def sources_due(self, sources: Sequence[str], now: float) -> list[str]:
        """The sources that have a due watch, in one round trip."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for source in sources:
                for queue in _keys(source)[1:]:
                    pipe.zcount(queue, "-inf", repr(now))
            counts = pipe.execute()
        return [source for at, source in enumerate(sources) if any(counts[3 * at : 3 * at + 3])]

    def list(self, source: str) -> tuple[OpenWatch, ...]:
        """All open watches, the earliest due first."""
        queues = (self._read(source, queue, "+inf", -1) for queue in _keys(source)[1:])
        return tuple(sorted((watch for queue in queues for watch in queue), key=lambda watch: (watch.due, watch.key)))

    def record_recheck(self, source: str, watch: OpenWatch, schedule: Sequence[float], now: float) -> str:
        """Count a recheck and set the next one by `schedule` (seconds), whose last entry repeats; the new state.

        The last recheck is at `give_up_at`, then the watch is removed. Returns `later`, `given_up`, or `closed` if the
        watch was closed or opened again meanwhile, for example because the recheck found the attempt settled.
        """
        over = now >= watch.give_up_at
        due = min(now + schedule[min(watch.rechecks, len(schedule) - 1)], watch.give_up_at)
        with state_errors():
            counted = self._record_recheck(
                keys=_keys(source), args=[watch.key, watch.rechecks, watch.kind, "" if over else repr(due)]
            )
        if not counted:
            return "closed"
        return "given_up" if over else "later"

    def postpone(self, source: str, watch: OpenWatch, due: float) -> None:
        """Move the next recheck without counting one. A closed watch stays closed."""
        with state_errors():
            self.client.zadd(_queue(source, watch.kind), {watch.key: due}, xx=True)

    def _run(self, script: Script, source: str, args: Sequence[str], now: float) -> None:
        if not args:
            return
        with state_errors():
            script(keys=_keys(source), args=[repr(now), *args])
        self._empty.forget(source)

    def _read(self, source: str, queue: str, latest: str, limit: int) -> tuple[OpenWatch, ...]:
        with state_errors():
            flat = cast("Sequence[bytes]", self._due(keys=[keys.watch(source), queue], args=[latest, limit]))
        return tuple(_watch(*flat[at : at + 3]) for at in range(0, len(flat), 3))


def _script(client: redis.Redis, name: str) -> Script:
    return scripts.register(client, __file__, "watch_queues", name)


def _keys(source: str) -> list[str]:
    return [keys.watch(source), *(keys.watch_due(source, queue) for queue in ("due", "pointers", "rereads"))]


def _queue(source: str, kind: str) -> str:
    names = {POINTER: "pointers", UNGRADED: "rereads", REREAD: "rereads"}
    return keys.watch_due(source, names.get(kind, "due"))


def _details(reference: Mapping[str, str], give_up_at: float) -> str:
    return json.dumps({"reference": dict(reference), "give_up_at": give_up_at}, separators=(",", ":"))


def _watch(key: bytes, due: bytes, value: bytes) -> OpenWatch:
    rechecks, opened_at, kind, details = value.decode().split("|", 3)
    stored = json.loads(details)
    return OpenWatch(
        key=key.decode(),
        kind=kind,
        # Older versions stored what no address can hold.
        reference={cleaned(name): cleaned(text) for name, text in stored["reference"].items()},
        due=float(due),
        give_up_at=stored["give_up_at"],
        opened_at=float(opened_at),
        rechecks=int(rechecks),
    )
