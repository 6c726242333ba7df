"""Backfills: what was asked for, how far each one is, and what operators want of the process that runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import cast

import redis

from bridge import clock
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.lease import Lease

__all__ = [
    "CANCELLED",
    "DONE",
    "FAILED",
    "KEPT",
    "REPROCESS",
    "RUNNING",
    "STOPPED",
    "Backfill",
    "Backfills",
    "backfill_id",
    "period_problem",
    "remaining",
    "share_read",
]

RUNNING, STOPPED, DONE, CANCELLED, FAILED = "running", "stopped", "done", "cancelled", "failed"
#: What is run through the current code again before reading: nothing, what is in quarantine, every stored request too.
REPROCESS = ("none", "failed", "all")
#: Backfills remembered over all sources; those that may go on are never dropped.
KEPT = 100
#: Renewed every second and before every page; longer than the slowest call.
_LEASE_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Backfill:
    """One period of one source that is read again. Moments are UNIX seconds.

    `first`, `last`: the period. `streams`: in the order in which they are read. `cursors`: stream -> where its next
    page starts; `finished`: streams read to their end. `reprocess`: one of `REPROCESS`; `reprocessed`: that is over.
    `rate`: pages a minute at most. `pages`, `records`, `outcomes`, `calls`: what the pages stored so far came to.
    `error`: one line why it stopped, None while nothing is wrong.
    """

    id: str
    source: str
    first: float
    last: float
    streams: list[str]
    reprocess: str = "none"
    rate: int | None = None
    created: float = 0.0
    updated: float = 0.0
    state: str = RUNNING
    cursors: dict[str, str] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)
    reprocessed: bool = False
    pages: int = 0
    records: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    error: str | None = None

    def count(self, outcomes: Mapping[str, int]) -> None:
        """Add what became of some records."""
        for outcome, number in outcomes.items():
            if number:
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number


def backfill_id(source: str, now: float) -> str:
    """Named by source and start: two of one source never run in the same second."""
    return f"{source}/{clock.to_datetime(now):%Y%m%dT%H%M%S}"


def period_problem(first: float, last: float, now: float, look_back_limit: float | None) -> str | None:
    """Why this period cannot be read, in one line, or None. `look_back_limit`: seconds, of the vendor's API."""
    if first >= now:
        return f"the period begins at {_text(first)}, in the future; give a past date"
    if first >= last:
        return f"the period begins at {_text(first)} but ends at {_text(last)}; give a later end or an earlier begin"
    if look_back_limit is not None and first < now - look_back_limit:
        earliest = _text(now - look_back_limit)
        return f"the period begins at {_text(first)}, but the vendor lists nothing before {earliest}; begin there"
    return None


def share_read(job: Backfill, position: Callable[[str, str], float]) -> float:
    """How much of the period is read, from 0 to 1, every stream alike. `position(stream, cursor)`: UNIX seconds."""
    shares = [
        1.0
        if stream in job.finished
        else min(max((position(stream, job.cursors[stream]) - job.first) / (job.last - job.first), 0.0), 1.0)
        for stream in job.streams
        if stream in job.finished or stream in job.cursors
    ]
    return sum(shares) / len(job.streams)


def remaining(begun: float, share: float, seconds: float) -> float | None:
    """Seconds until the whole is read at the speed so far: from the share `begun` to `share` it took `seconds`."""
    return None if share <= begun else seconds * (1.0 - share) / (share - begun)


class Backfills:
    """All backfills. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def lease(self, job: Backfill, token: str) -> Lease:
        """Who runs a backfill of this source; it tells which one. `token` is the holder's own."""
        return Lease(self.client, _lease(job.source), f"{job.id}:{token}", seconds=_LEASE_SECONDS)

    def running(self, source: str) -> str | None:
        """The id of the backfill of this source that a process runs now."""
        with state_errors():
            holder = cast("bytes | None", self.client.get(keys.lease(_lease(source))))
        return None if holder is None else holder.decode().rpartition(":")[0]

    def save(self, job: Backfill, now: float) -> None:
        """Keep where it stands; call it once what was read is durable."""
        job.updated = now
        with state_errors():
            self.client.hset(keys.backfills(), job.id, json.dumps(asdict(job), separators=(",", ":")))

    def get(self, job_id: str) -> Backfill | None:
        """One backfill as it was last saved. One whose process ended without a word is `stopped`."""
        with state_errors():
            stored = cast("bytes | None", self.client.hget(keys.backfills(), job_id))
        return None if stored is None else self._load(stored)

    def list(self, source: str | None = None) -> list[Backfill]:
        """The newest first."""
        with state_errors():
            stored = cast("dict[bytes, bytes]", self.client.hgetall(keys.backfills()))
        jobs = [self._load(one) for one in stored.values()]
        chosen = (job for job in jobs if source is None or job.source == source)
        return sorted(chosen, key=lambda job: (job.created, job.id), reverse=True)

    def trim(self) -> None:
        """Forget the oldest beyond `KEPT` of those that are over."""
        over = [job.id for job in self.list() if job.state in (DONE, CANCELLED)]
        if old := over[KEPT:]:
            with state_errors():
                self.client.hdel(keys.backfills(), *old)

    def request(self, job_id: str, what: str) -> None:
        """Ask the process that runs it to `stop` or `cancel`."""
        with state_errors():
            self.client.hset(keys.backfill_requests(), job_id, what)

    def requested(self, job_id: str) -> str | None:
        """What was asked of it and not yet done."""
        with state_errors():
            request = cast("bytes | None", self.client.hget(keys.backfill_requests(), job_id))
        return None if request is None else request.decode()

    def clear_request(self, job_id: str) -> None:
        """Nothing is asked of it any more."""
        with state_errors():
            self.client.hdel(keys.backfill_requests(), job_id)

    def _load(self, stored: bytes) -> Backfill:
        job = Backfill(**json.loads(stored))
        if job.state == RUNNING and self.running(job.source) != job.id:
            job.state, job.error = STOPPED, "its process ended without a word"
        return job


def _lease(source: str) -> str:
    return f"backfill:{source}"


def _text(moment: float) -> str:
    return f"{clock.to_datetime(moment):%Y-%m-%dT%H:%M:%SZ}"
