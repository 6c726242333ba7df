"""Erasure jobs and their store. `workers/dispatch/erasures.py` runs them.

What is found is kept in sets, so that a step that is repeated after a crash counts nothing twice. While a job runs, the
sets and the job name the person; at its end only a digest and numbers are left.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import redis

from bridge import clock
from bridge.erasure.person import Person, Trace
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.lease import Lease
from bridge.state.stored_json import UnreadableRecord, json_object, log_unreadable, read_record

__all__ = ["DONE", "FAILED", "MAX_KEPT", "RUNNING", "STATES", "Erasure", "Erasures", "Found", "erasure_id"]

RUNNING, DONE, FAILED = "running", "done", "failed"
STATES = (RUNNING, DONE, FAILED)
#: Ended jobs that are kept.
MAX_KEPT = 200
#: Renewed before every batch.
_LEASE_SECONDS = 15.0
_PAGE = 50


@dataclass(frozen=True, slots=True)
class Found:
    """What was found so far: place -> number; and the oldest and newest moment of it, UNIX seconds."""

    counts: Mapping[str, int] = field(default_factory=dict)
    first: float | None = None
    last: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """One job as it is stored. Times are UNIX seconds."""

    id: str
    source: str
    #: Digest of the person (`Person.digest`).
    digest: str
    #: Whether it changes nothing.
    dry_run: bool
    created: float
    #: Who made it.
    by: str
    #: One of `STATES`.
    state: str = RUNNING
    updated: float = 0.0
    #: Number of the step that is under way, and its position; empty: its beginning.
    step: int = 0
    at: str = ""
    #: Entries read so far, about: a batch that is repeated counts again.
    scanned: int = 0
    #: Why it failed, or what holds it up, in one line.
    error: str = ""
    #: What it found.
    found: Found = field(default_factory=Found)
    #: The report at its end; see `bridge/erasure/report.py`.
    report: Mapping[str, Any] | None = None
    #: Whose data it removes; None once it has ended.
    person: Person | None = field(default=None, repr=False)


def erasure_id(now: float, draw: bytes) -> str:
    """The id of a job. `draw`: two random bytes, for jobs of the same second."""
    return f"erasure-{clock.to_datetime(now):%Y%m%dT%H%M%S}-{draw.hex()}"


class Erasures:
    """All erasure jobs. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def add(self, job: Erasure, person: Person) -> None:
        """Store a new job, which runs from now on."""
        head = {name: getattr(job, name) for name in ("id", "source", "digest", "dry_run", "created", "by")}
        fields = {"job": json.dumps(head), "state": RUNNING, "updated": f"{job.created:.3f}", "step": "0", "at": ""}
        fields["person"] = json.dumps(asdict(person))
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hset(keys.erasure_job(job.id), mapping=fields)  # type: ignore[arg-type]
            pipe.zadd(keys.erasures(), {job.id: job.created})
            pipe.sadd(keys.erasures("running"), job.id)
            pipe.execute()

    def get(self, ident: str) -> Erasure | None:
        """One job, or None."""
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hgetall(keys.erasure_job(ident))
            pipe.smembers(keys.erasure_found(ident))
            fields, references = pipe.execute()
        if not fields:
            return None
        try:
            return _read(fields, references)
        except UnreadableRecord as error:
            log_unreadable(keys.erasure_job(ident), str(error))
            return None

    def newest_first(self, *, before: tuple[float, str] | None = None) -> Iterator[Erasure]:
        """The jobs made before (time, id)."""
        at, least = 0, "+inf" if before is None else repr(before[0])
        while True:
            with state_errors():
                page = cast(
                    "list[tuple[bytes, float]]",
                    self.client.zrevrangebyscore(keys.erasures(), least, "-inf", start=at, num=_PAGE, withscores=True),
                )
            for ident, made in page:
                if before is None or (made, ident.decode()) < before:
                    job = self.get(ident.decode())
                    if job is not None:
                        yield job
            if len(page) < _PAGE:
                return
            at += _PAGE

    def running(self) -> list[str]:
        """The ids of the jobs that run, oldest first."""
        with state_errors():
            members = cast("set[bytes]", self.client.smembers(keys.erasures("running")))
        return sorted(ident.decode() for ident in members)

    def lease(self, ident: str, token: str) -> Lease:
        """The right to move a job on."""
        return Lease(self.client, f"erasure:{ident}", token, seconds=_LEASE_SECONDS)

    def traces(self, ident: str) -> set[Trace]:
        """What was learned about the person."""
        with state_errors():
            members = cast("set[bytes]", self.client.smembers(keys.erasure_traces(ident)))
        pairs = (member.decode().partition("|") for member in members)
        return {(kind, value) for kind, _, value in pairs}

    def note(self, ident: str, references: Collection[str], traces: Collection[Trace]) -> None:
        """Remember what a batch has found, before anything of it is removed. `references`: `<place>|<reference>`."""
        if not (references or traces):
            return
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            if references:
                pipe.sadd(keys.erasure_found(ident), *references)
            if traces:
                pipe.sadd(keys.erasure_traces(ident), *(f"{kind}|{value}" for kind, value in traces))
            pipe.execute()

    def save(self, ident: str, *, step: int, at: str, read: int, now: float) -> None:
        """Move the position, after everything before it is done."""
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hset(keys.erasure_job(ident), mapping={"step": step, "at": at, "updated": f"{now:.3f}"})
            pipe.hincrby(keys.erasure_job(ident), "scanned", read)
            pipe.execute()

    def forget_person(self, job: Erasure, report: Mapping[str, Any], *, now: float) -> None:
        """Replace everything that names the person by the numbers of the job."""
        fields = {"found": json.dumps(asdict(job.found)), "report": json.dumps(report), "updated": f"{now:.3f}"}
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hset(keys.erasure_job(job.id), mapping=fields)  # type: ignore[arg-type]
            pipe.hdel(keys.erasure_job(job.id), "person")
            pipe.delete(keys.erasure_found(job.id), keys.erasure_traces(job.id))
            pipe.execute()

    def note_error(self, ident: str, error: str, *, now: float) -> None:
        """Record what holds a job up; it goes on."""
        with state_errors():
            self.client.hset(keys.erasure_job(ident), mapping={"error": error, "updated": f"{now:.3f}"})

    def end(
        self, ident: str, state: str, *, now: float, report: Mapping[str, Any] | None = None, error: str = ""
    ) -> None:
        """Give a job its last state, after `forget_person`."""
        fields = {"state": state, "updated": f"{now:.3f}", "error": error}
        if report is not None:
            fields["report"] = json.dumps(report)
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hset(keys.erasure_job(ident), mapping=fields)  # type: ignore[arg-type]
            pipe.srem(keys.erasures("running"), ident)
            pipe.execute()

    def trim(self) -> None:
        """Delete the oldest ended jobs beyond `MAX_KEPT`."""
        for job in [job for job in self.newest_first() if job.state != RUNNING][MAX_KEPT:]:
            with state_errors():
                pipe = self.client.pipeline(transaction=True)
                pipe.delete(keys.erasure_job(job.id))
                pipe.zrem(keys.erasures(), job.id)
                pipe.execute()


def _read(fields: Mapping[bytes, bytes], references: Collection[bytes]) -> Erasure:
    """Raises `UnreadableRecord`."""

    def number(name: bytes) -> float:
        try:
            return float(fields.get(name, b"0"))
        except ValueError:
            raise UnreadableRecord(f"{name.decode()}: not a number") from None

    person = fields.get(b"person")
    kept = fields.get(b"found")
    report = fields.get(b"report")
    return read_record(
        Erasure,
        fields.get(b"job", b""),
        state=fields.get(b"state", b"").decode(errors="replace"),
        updated=number(b"updated"),
        step=int(number(b"step")),
        at=fields.get(b"at", b"").decode(errors="replace"),
        scanned=int(number(b"scanned")),
        error=fields.get(b"error", b"").decode(errors="replace"),
        found=_counted([member.decode() for member in references]) if kept is None else read_record(Found, kept),
        report=None if report is None else json_object(report),
        person=None if person is None else read_record(Person, person),
    )


def _counted(references: Sequence[str]) -> Found:
    """References that end in a stream id also have a moment."""
    moments = []
    for each in references:
        milliseconds, dash, _ = each.rpartition(":")[2].partition("-")
        if dash and milliseconds.isdigit():
            moments.append(int(milliseconds) / 1000)
    counts = Counter(each.partition("|")[0] for each in references)
    return Found(dict(sorted(counts.items())), min(moments, default=None), max(moments, default=None))
