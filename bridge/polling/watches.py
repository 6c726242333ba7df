"""Watches: attempts to recheck, when, and in which order. `workers/polling/recheck.py` rechecks them.

Every reader takes the source's `version` before it asks the vendor. Each urge, by webhook or by an operator, raises the
version and stores it with the watch: a reader may close or put off only watches that were not urged since it began.
"""

from __future__ import annotations

import builtins
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

import redis
import structlog
from redis.commands.core import Script

from bridge.polling.open_watch import (
    ATTEMPT,
    EXPECTATION,
    POINTER,
    REREAD,
    UNGRADED,
    OpenWatch,
    read_watch,
    reference_json,
    stored_value,
)
from bridge.sdk.records import Pointer, Watch
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.negative_cache import NegativeCache

__all__ = ["ATTEMPT", "EXPECTATION", "POINTER", "REREAD", "UNGRADED", "OpenWatch", "Watches", "chunks", "watch_keys"]

#: How long a process may assume that a source has no watches, seconds.
_EMPTY_SECONDS = 0.25
#: Items of one command or script: lists from vendors and operators may have any length, arguments may not.
_CHUNK = 500

_Item = TypeVar("_Item")
_Other = TypeVar("_Other")
_log = structlog.get_logger(__name__)


class Watches:
    """The watches of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._open = _script(client, "open_watches")
        self._urge = _script(client, "urge_watches")
        self._settle = _script(client, "settle_watches")
        self._replace = _script(client, "replace_watch")
        self._postpone = _script(client, "postpone_watch")
        self._due = scripts.register(client, __file__, "due_watches")
        self._empty = NegativeCache(_EMPTY_SECONDS)

    def version(self, source: str, *, now: float | None = None) -> int:
        """The version of the last urge: take it before reading from the vendor.

        With `now`, it makes no call while the source is known to have no watches: any watch opened later is newer.
        """
        if now is not None and self._empty.is_known_empty(source, now):
            return 0
        with state_errors():
            return int(cast("bytes | None", self.client.get(keys.watch_version(source))) or 0)

    def open(self, source: str, key: str, watch: Watch, *, now: float) -> None:
        """Recheck this attempt from now on. Opening an open watch replaces its reference and keeps its schedule."""
        self.open_many(source, {key: watch}, now=now)

    def open_many(
        self,
        source: str,
        watches: Mapping[str, Watch],
        *,
        now: float,
        published: Container[str] = (),
        urge: bool = False,
    ) -> frozenset[str]:
        """`open` for attempt id -> watch; returns the ids that webhooks announced. One past its deadline is not opened.

        `published`: ids of attempts whose completion is published already, which makes their watches less urgent.
        `urge`: a webhook opens them, so no recheck that is under way may close them.
        """
        announced: set[str] = set()
        for part in chunks([item for item in watches.items() if item[1].give_up_at > now]):
            args = [repr(now), "1" if urge else ""]
            for key, watch in part:
                due = min(now + watch.due_in, watch.give_up_at)
                kind = REREAD if watch.reread else UNGRADED if key in published else ATTEMPT
                args += [key, repr(due), kind, repr(float(watch.give_up_at)), reference_json(watch.reference)]
            with state_errors():
                result = cast("builtins.list[bytes]", self._open(keys=watch_keys(source), args=args))
            announced.update(key.decode() for key in result)
            self.note_opened(source)
        return frozenset(announced)

    def add_pointers(self, source: str, pointers: Sequence[Pointer], *, now: float) -> None:
        """Recheck what webhooks point to now, and again soon; a watch that is open already becomes due now."""
        for part in chunks(pointers):
            args = [repr(now)]
            for pointer in part:
                args += [pointer.key, repr(now + pointer.give_up_after), reference_json(pointer.reference)]
            with state_errors():
                self._urge(keys=watch_keys(source), args=args)
            self.note_opened(source)

    def close(self, source: str, key: str, *, now: float) -> None:
        """Stop rechecking; closing a watch that is not open does nothing."""
        self.close_many(source, (key,), now=now)

    def close_many(self, source: str, closed: Sequence[str], *, now: float) -> None:
        """`close` for several keys, whatever has urged them."""
        self.settle(source, dict.fromkeys(closed, True), now=now)

    def settle(
        self,
        source: str,
        settled: Mapping[str, bool],
        *,
        now: float,
        as_of: int | None = None,
        answered: Mapping[str, float] | None = None,
    ) -> None:
        """After publishing: close the watches of settled attempts, in few round trips or none.

        `settled`: key -> whether something new was published; if not, an announced watch stays. `as_of`: the
        version before the vendor was read; watches urged since then stay as they are. None: all may be closed.
        `answered`: key of each attempt that was announced, published, and stays open -> when its next recheck is due.

        It makes no round trip if the source had no watches a moment ago, because every published attempt calls it. So a
        watch that another process has just opened may stay open; its next recheck finds the attempt settled.
        """
        later = dict(answered or {})
        if not (settled or later) or self._empty.is_known_empty(source, now):
            return
        left = 0
        for part, answers in _parallel_chunks(settled.items(), later.items()):
            args = ["" if as_of is None else str(as_of), str(len(part))]
            for key, is_new in part:
                args += [key, "1" if is_new else ""]
            for key, due in answers:
                args += [key, repr(due)]
            with state_errors():
                left = cast("int", self._settle(keys=watch_keys(source), args=args))
        self._empty.record(source, now, empty=left == 0)

    def replace(self, source: str, watch: OpenWatch, following: OpenWatch | None) -> bool:
        """Store what follows a recheck, None to end the watch; False if it was closed or changed since it was read."""
        args: builtins.list[str | bytes] = [watch.key, watch.stored, "", ""]
        if following is not None:
            args[2:] = [stored_value(following), repr(following.due)]
        with state_errors():
            return bool(self._replace(keys=watch_keys(source), args=args))

    def postpone(self, source: str, key: str, *, as_of: int, due: float) -> None:
        """Set the next recheck and nothing else, unless the watch was urged after version `as_of`."""
        with state_errors():
            self._postpone(keys=watch_keys(source), args=[key, str(as_of), repr(due)])

    def due(self, source: str, now: float, limit: int) -> tuple[OpenWatch, ...]:
        """At most `limit` due watches, in the order of their rechecks.

        Open attempts and expectations first, the most overdue at the front, then pointers and what else was announced,
        then attempts that may change. Pointers get up to half of the places: a webhook has announced something to
        read. Of many pointers, the earliest and the latest take turns.
        """
        due, announced, later = _queues(source)
        overdue = self._read(source, due, now, limit)
        pointers = self._read(source, announced, now, limit, both_ends=True)
        rereads = self._read(source, later, now, limit)
        for_pointers = min(len(pointers), max(limit - len(overdue), limit // 2))
        first = (*overdue[: limit - for_pointers], *pointers[:for_pointers])
        return (*first, *rereads[: limit - len(first)])

    def due_count(self, source: str, now: float) -> int:
        """The number of watches that are due."""
        return self.due_counts([source], now)[source]

    def due_counts(self, sources: Sequence[str], now: float) -> dict[str, int]:
        """The number of due watches of each source, in one round trip."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for source in sources:
                for queue in _queues(source):
                    pipe.zcount(queue, "-inf", repr(now))
            counts = pipe.execute() if sources else []
        return {source: sum(counts[3 * at : 3 * at + 3]) for at, source in enumerate(sources)}

    def sources_due(self, sources: Sequence[str], now: float) -> builtins.list[str]:
        """The sources that have a due watch, in one round trip."""
        return [source for source, number in self.due_counts(sources, now).items() if number]

    def get(self, source: str, key: str) -> OpenWatch | None:
        """One open watch, or None; in one round trip, however many there are."""
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hget(keys.watch(source), key)
            pipe.hget(keys.expected(source), key)
            for queue in _queues(source):
                pipe.zscore(queue, key)
            value, expectation, *scores = pipe.execute()
        due = next((score for score in scores if score is not None), None)
        return None if value is None or due is None else read_watch(key.encode(), due, value, expectation or b"")

    def list(self, source: str, *, limit: int | None = None) -> tuple[OpenWatch, ...]:
        """Open watches, the earliest due first, at most `limit`. An unreadable one is left out and logged."""
        results: builtins.list[OpenWatch] = []
        for queue in _queues(source):
            with state_errors():
                members = cast("Any", self.client.zrange(queue, 0, -1 if limit is None else limit - 1, withscores=True))
            for part in chunks(members):
                results += self._read_all(source, part)
        return tuple(sorted(results, key=lambda watch: (watch.due, watch.key))[:limit])

    def note_opened(self, source: str) -> None:
        """Note that this process has just opened a watch of the source."""
        self._empty.forget(source)

    def _read_all(self, source: str, scored: Sequence[tuple[bytes, float]]) -> Iterator[OpenWatch]:
        names = [key for key, _ in scored]
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            pipe.hmget(keys.watch(source), names)
            pipe.hmget(keys.expected(source), names)
            values, expectations = pipe.execute()
        for (key, due), value, expectation in zip(scored, values, expectations, strict=True):
            watch = None if value is None else read_watch(key, due, value, expectation or b"")
            if watch is not None:
                yield watch
            elif value is not None:
                _log.error("watch_unreadable", source=source)

    def _read(
        self, source: str, queue: str, now: float, limit: int, *, both_ends: bool = False
    ) -> tuple[OpenWatch, ...]:
        with state_errors():
            flat = cast(
                "Sequence[bytes]",
                self._due(
                    keys=[keys.watch(source), queue, keys.expected(source)],
                    args=[repr(now), limit, "1" if both_ends else ""],
                ),
            )
        read = {flat[at]: read_watch(*flat[at : at + 4]) for at in range(0, len(flat), 4)}
        if unreadable := [key for key, watch in read.items() if watch is None]:
            # It would be due for ever, ahead of all others.
            with state_errors():
                self.client.zrem(queue, *unreadable)
            _log.error("watch_unreadable", source=source, watches=len(unreadable))
        return tuple(watch for watch in read.values() if watch is not None)


def _script(client: redis.Redis, name: str) -> Script:
    return scripts.register(client, __file__, "watch_queues", name)


def watch_keys(source: str) -> list[str]:
    """The keys of every script about watches, in the order of `watch_queues.lua`."""
    stored = (keys.watch_version(source), keys.expected(source), keys.deadlines(source))
    return [keys.watch(source), *_queues(source), *stored]


def _queues(source: str) -> list[str]:
    return [keys.watch_due(source, queue) for queue in ("due", "pointers", "rereads")]


def chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """The items in parts that one command can take."""
    for first in range(0, len(items), _CHUNK):
        yield items[first : first + _CHUNK]


def _parallel_chunks(first: Iterable[_Item], second: Iterable[_Other]) -> Iterator[tuple[list[_Item], list[_Other]]]:
    """Chunks of both until both are used up."""
    left, right = iter(first), iter(second)
    while any(parts := (list(islice(left, _CHUNK)), list(islice(right, _CHUNK)))):
        yield parts
