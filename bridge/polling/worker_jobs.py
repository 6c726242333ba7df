"""Jobs that the API gives to the worker: which of them are open, and reconciliations and tests of sources themselves.

A backfill that the worker runs is stored by `backfill_jobs.py`; here is only the fact that it is open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from bridge import clock
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.lease import Lease
from bridge.state.stored_json import record_or_none, to_members

__all__ = [
    "BACKFILL",
    "DONE",
    "ENDED",
    "FAILED",
    "MAX_KEPT",
    "RECONCILIATION",
    "RUNNING",
    "STATES",
    "STOPPED",
    "TEST",
    "WAITING",
    "OpenJobs",
    "WorkerJob",
    "WorkerJobs",
    "job_id",
]

BACKFILL, RECONCILIATION, TEST = "backfill", "reconciliation", "test"
WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"
STATES = (WAITING, RUNNING, DONE, FAILED, STOPPED)
#: States of jobs that are not run again.
ENDED = (DONE, FAILED, STOPPED)
#: Ended jobs that are kept.
MAX_KEPT = 100
#: Renewed before every page and every second of waiting; longer than the slowest call takes.
_LEASE_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class WorkerJob:
    """A reconciliation or a test of one source, as it is stored. Moments are UNIX seconds."""

    #: Name of the source, a slash, and what `job_id` adds.
    id: str
    #: `RECONCILIATION` or `TEST`.
    kind: str
    #: Name of the source.
    source: str
    #: What was asked for; of a reconciliation `since`, `until`, `fix`.
    options: dict[str, Any] = field(default_factory=dict)
    #: Who made it.
    by: str = ""
    #: When it was made.
    created: float = 0.0
    #: When it was last saved.
    updated: float = 0.0
    #: One of `STATES`.
    state: str = WAITING
    #: Why it makes no progress, in one line; empty: it does.
    waits: str = ""
    #: Until when it waits, where that is known.
    waits_until: float | None = None
    #: Why it failed, in one line.
    error: str = ""
    #: Of a test: its steps so far.
    steps: list[dict[str, Any]] = field(default_factory=list)
    #: Members of a later version.
    later: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


def job_id(source: str, now: float, draw: bytes) -> str:
    """The id of a job. `draw`: two random bytes, for jobs of the same second."""
    return f"{source}/{clock.to_datetime(now):%Y%m%dT%H%M%S}-{draw.hex()}"


class OpenJobs:
    """The jobs that a worker is to run, until they have ended. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def add(self, kind: str, ident: str) -> None:
        """Have a worker run the job with its next short tick."""
        with state_errors():
            self._client.sadd(keys.worker_jobs("open"), f"{kind}:{ident}")

    def remove(self, kind: str, ident: str) -> None:
        """Let no worker run the job again."""
        with state_errors():
            self._client.srem(keys.worker_jobs("open"), f"{kind}:{ident}")

    def all(self) -> list[tuple[str, str]]:
        """(kind, id) of each, those of one kind in the order of their ids."""
        with state_errors():
            members = cast("set[bytes]", self._client.smembers(keys.worker_jobs("open")))
        parts = [member.decode().partition(":") for member in members]
        return sorted((kind, ident) for kind, _, ident in parts)


class WorkerJobs:
    """The reconciliations and tests that were asked for. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._open = OpenJobs(client)

    def add(self, job: WorkerJob) -> None:
        """Store a new job, which a worker runs as soon as it can."""
        self._save(job, job.created)
        self._open.add(job.kind, job.id)

    def save(self, job: WorkerJob, now: float) -> None:
        """Store the job; one that has ended is no longer open."""
        self._save(job, now)
        if job.state in ENDED:
            self._open.remove(job.kind, job.id)
            with state_errors():
                self.client.hdel(keys.worker_jobs("requests"), job.id)
            self._trim()

    def get(self, ident: str) -> WorkerJob | None:
        """One job, `waiting` if its worker ended unexpectedly; None if it is unknown."""
        with state_errors():
            stored = cast("bytes | None", self.client.hget(keys.worker_jobs("all"), ident))
        return None if stored is None else self._load(ident, stored)

    def list(self, kind: str) -> list[WorkerJob]:
        """The jobs of a kind, the newest first."""
        with state_errors():
            stored = cast("dict[bytes, bytes]", self.client.hgetall(keys.worker_jobs("all")))
        jobs = [self._load(ident.decode(errors="replace"), document) for ident, document in stored.items()]
        return sorted(
            (job for job in jobs if job is not None and job.kind == kind),
            key=lambda job: (job.created, job.id),
            reverse=True,
        )

    def lease(self, job: WorkerJob, token: str) -> Lease:
        """The right to run a job. `token` identifies the process."""
        return Lease(self.client, f"job:{job.id}", token, seconds=_LEASE_SECONDS)

    def request_stop(self, ident: str) -> None:
        """Ask the worker that runs it to end it."""
        with state_errors():
            self.client.hset(keys.worker_jobs("requests"), ident, "stop")

    def stop_requested(self, ident: str) -> bool:
        """Whether the job has been asked to end."""
        with state_errors():
            return bool(self.client.hexists(keys.worker_jobs("requests"), ident))

    def _save(self, job: WorkerJob, now: float) -> None:
        job.updated = now
        with state_errors():
            self.client.hset(keys.worker_jobs("all"), job.id, json.dumps(to_members(job), separators=(",", ":")))

    def _load(self, ident: str, stored: bytes) -> WorkerJob | None:
        job = record_or_none(WorkerJob, stored, place=f"{keys.worker_jobs('all')} {ident}")
        with state_errors():
            if job is not None and job.state == RUNNING and not self.client.exists(keys.lease(f"job:{job.id}")):
                job.state = WAITING
        return job

    def _trim(self) -> None:
        ended = [job for kind in (RECONCILIATION, TEST) for job in self.list(kind) if job.state in ENDED]
        ended.sort(key=lambda job: job.updated, reverse=True)
        if old := [job.id for job in ended[MAX_KEPT:]]:
            with state_errors():
                self.client.hdel(keys.worker_jobs("all"), *old)
