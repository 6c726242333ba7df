"""Backfill jobs: the period of each, its progress, and requests to the process that runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from bridge import clock
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.lease import Lease
from bridge.state.stored_json import record_or_none, to_members

__all__ = [
    "CANCELLED",
    "COMMAND",
    "DONE",
    "FAILED",
    "MAX_KEPT",
    "REPROCESS",
    "RUNNING",
    "STATES",
    "STOPPED",
    "WAITING",
    "WORKER",
    "Backfill",
    "Backfills",
    "backfill_id",
    "period_problem",
    "seconds_remaining",
    "share_read",
]

WAITING, RUNNING, STOPPED = "waiting", "running", "stopped"
DONE, CANCELLED, FAILED = "done", "cancelled", "failed"
STATES = (WAITING, RUNNING, STOPPED, DONE, CANCELLED, FAILED)
#: Who runs a backfill: a command in its terminal, or the worker, for the API.
COMMAND, WORKER = "command", "worker"
#: What is processed again before reading: nothing, quarantined items, or these and all stored requests.
REPROCESS = ("none", "failed", "all")
#: Number of finished backfills stored over all sources; those that can resume are never deleted.
MAX_KEPT = 100
#: A period may begin this long before what the vendor lists, seconds.
_LIMIT_SLACK = 3600.0
#: Renewed every second and before every page; longer than the slowest call takes.
_LEASE_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Backfill:
    """One period of one source that is read again, as it is stored. Moments are UNIX seconds."""

    #: See `backfill_id`.
    id: str
    #: Name of the source.
    source: str
    #: Start of the period.
    first: float
    #: End of the period.
    last: float
    #: Streams in the order in which they are read.
    streams: list[str]
    #: One of `REPROCESS`.
    reprocess: str = "none"
    #: Maximum pages a minute; None: no limit.
    rate: int | None = None
    #: When it was requested.
    created: float = 0.0
    #: When it was last saved.
    updated: float = 0.0
    #: One of `STATES`.
    state: str = RUNNING
    #: `COMMAND` or `WORKER`.
    runner: str = COMMAND
    #: Who made it; empty: unknown.
    by: str = ""
    #: Whether it only counts, and writes nothing.
    dry_run: bool = False
    #: Numbers of quarantined records and of stored requests that `reprocess` selects; only of a dry run.
    stored: list[int] | None = None
    #: Why it makes no progress, in one line; empty: it does. Only of the worker's.
    waits: str = ""
    #: Until when it waits, where that is known.
    waits_until: float | None = None
    #: Stream -> cursor of its next page.
    cursors: dict[str, str] = field(default_factory=dict)
    #: Streams that are read to their end.
    finished: list[str] = field(default_factory=list)
    #: Whether `reprocess` is done.
    reprocessed: bool = False
    #: Pages read so far.
    pages: int = 0
    #: Records read so far.
    records: int = 0
    #: Outcome of publishing -> number of records so far.
    outcomes: dict[str, int] = field(default_factory=dict)
    #: Calls spent so far.
    calls: int = 0
    #: Why it stopped, in one line; None: no error.
    error: str | None = None
    #: Members of a later version.
    later: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def count(self, outcomes: Mapping[str, int]) -> None:
        """Add outcomes of some records."""
        for outcome, number in outcomes.items():
            if number:
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number


def backfill_id(source: str, now: float, number: int = 1) -> str:
    """The id of a backfill: its source and start, and a number if others start in the same second."""
    return f"{source}/{clock.to_datetime(now):%Y%m%dT%H%M%S}" + (f"-{number}" if number > 1 else "")


def period_problem(first: float, last: float, now: float, look_back_limit: float | None) -> str | None:
    """Why this period cannot be read, in one line, or None. `look_back_limit`: seconds that the vendor's API lists."""
    if first >= now:
        return f"the period begins in the future: {_text(first)}. Give a past date"
    if first >= last:
        return f"the period is empty: {_text(first)} to {_text(last)}. Give a later end"
    # The limit moves on: a date computed from it, or taken from this message, is accepted for a while.
    if look_back_limit is not None and first < now - look_back_limit - _LIMIT_SLACK:
        earliest = _text(now - look_back_limit)
        return f"the period begins at {_text(first)}, but the vendor lists nothing before {earliest}. Begin there"
    return None


def share_read(job: Backfill, position: Callable[[str, str], float]) -> float:
    """The share of the period that is read, 0 to 1; streams count equally. `position(stream, cursor)`: UNIX seconds."""
    shares = [
        1.0
        if stream in job.finished
        else min(max((position(stream, job.cursors[stream]) - job.first) / (job.last - job.first), 0.0), 1.0)
        for stream in job.streams
        if stream in job.finished or stream in job.cursors
    ]
    return sum(shares) / len(job.streams)


def seconds_remaining(start: float, share: float, seconds: float) -> float | None:
    """Seconds until all is read, if it took `seconds` from the share `start` to `share`; None without progress."""
    return None if share <= start else seconds * (1.0 - share) / (share - start)


class Backfills:
    """The backfills of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def lease(self, job: Backfill, token: str) -> Lease:
        """The right to run a backfill of this source; its value names the backfill. `token` identifies the process."""
        return Lease(self.client, _lease_name(job.source), f"{job.id}:{token}", seconds=_LEASE_SECONDS)

    def running(self, source: str) -> str | None:
        """The id of the backfill of this source that a process is running, or None."""
        with state_errors():
            holder = cast("bytes | None", self.client.get(keys.lease(_lease_name(source))))
        return None if holder is None else holder.decode().rpartition(":")[0]

    def choose_id(self, job: Backfill) -> None:
        """Give a new backfill the next id if another one of its source started in the same second."""
        number = 1
        with state_errors():
            while self.client.hexists(keys.backfills(), job.id):
                number += 1
                job.id = backfill_id(job.source, job.created, number)

    def add(self, job: Backfill, now: float) -> bool:
        """Store a new backfill; False, and nothing is stored, if its id is taken."""
        job.updated = now
        with state_errors():
            return bool(self.client.hsetnx(keys.backfills(), job.id, _stored(job)))

    def save(self, job: Backfill, now: float) -> None:
        """Store the progress, after everything read so far is durable."""
        job.updated = now
        with state_errors():
            self.client.hset(keys.backfills(), job.id, _stored(job))

    def get(self, job_id: str) -> Backfill | None:
        """One backfill as it was last saved, None if unknown.

        If its process exited unexpectedly, it is `stopped`, or `waiting` for another worker.
        """
        with state_errors():
            stored = cast("bytes | None", self.client.hget(keys.backfills(), job_id))
        return None if stored is None else self._load(job_id, stored)

    def list(self, source: str | None = None) -> list[Backfill]:
        """All backfills, or those of one source, the newest first."""
        with state_errors():
            stored = cast("dict[bytes, bytes]", self.client.hgetall(keys.backfills()))
        jobs = [self._load(ident.decode(errors="replace"), document) for ident, document in stored.items()]
        selected = (job for job in jobs if job is not None and source in (None, job.source))
        return sorted(selected, key=lambda job: (job.created, job.id), reverse=True)

    def trim(self) -> None:
        """Delete the oldest finished backfills beyond `MAX_KEPT`."""
        ended = [job.id for job in self.list() if job.state in (DONE, CANCELLED)]
        if old := ended[MAX_KEPT:]:
            with state_errors():
                self.client.hdel(keys.backfills(), *old)

    def request(self, job_id: str, action: str) -> None:
        """Ask the process that runs it to `stop` or `cancel`."""
        with state_errors():
            self.client.hset(keys.backfill_requests(), job_id, action)

    def requested(self, job_id: str) -> str | None:
        """The action that was requested and is not done yet, or None."""
        with state_errors():
            action = cast("bytes | None", self.client.hget(keys.backfill_requests(), job_id))
        return None if action is None else action.decode()

    def clear_request(self, job_id: str) -> None:
        """Remove the request."""
        with state_errors():
            self.client.hdel(keys.backfill_requests(), job_id)

    def _load(self, job_id: str, stored: bytes) -> Backfill | None:
        job = record_or_none(Backfill, stored, place=f"{keys.backfills()} {job_id}")
        if job is not None and job.state == RUNNING and self.running(job.source) != job.id:
            if job.runner == WORKER:
                # The next tick of a worker continues it.
                job.state = WAITING
            else:
                job.state, job.error = STOPPED, "its process exited unexpectedly"
        return job


def _stored(job: Backfill) -> str:
    return json.dumps(to_members(job), separators=(",", ":"))


def _lease_name(source: str) -> str:
    return f"backfill:{source}"


def _text(moment: float) -> str:
    return f"{clock.to_datetime(moment):%Y-%m-%dT%H:%M:%SZ}"
