"""The store of replay jobs and their progress. `workers/dispatch/replays.py` runs them.

The job itself is under one hash tag; its progress is in the partitions, where the script that schedules a batch moves
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from bridge.delivery.outcomes import outcome_keys, register
from bridge.delivery.replay_jobs import COUNTERS, ENDED, RUNNING, Part, PartProgress, Replay, StoredReplay
from bridge.journal.entries import Quarantined
from bridge.journal.quarantine import add_removal
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.lease import Lease
from bridge.state.stored_json import record_or_none

__all__ = ["MAX_KEPT", "Batch", "Replays"]

#: Ended jobs that are kept; those that can continue are never deleted.
MAX_KEPT = 200
#: Renewed before every batch.
_LEASE_SECONDS = 15.0
_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The next items of one part of a job, as replay_batch.lua takes them."""

    part: Part
    #: Position before and after the batch.
    before: str
    after: str
    #: Whether nothing follows.
    last: bool
    #: (kind, entry, event id, record).
    items: Sequence[tuple[str, str, str, str]] = ()
    #: Items that a filter excludes, items without their event, and items that are gone.
    excluded: int = 0
    failed: int = 0
    gone: int = 0
    #: `PartProgress.epoch` before the batch was read.
    epoch: str = "0"


class Replays:
    """All replay jobs. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, *, partitions: int = 1) -> None:
        self.client = client
        self.partitions = partitions
        self._batch = register(client, __file__, "replay_batch")
        self._change = scripts.register(client, __file__, "change_replay")

    def add(self, job: Replay) -> None:
        """Store a new job, which runs from now on."""
        fields = {"job": job.to_json(), "state": RUNNING, "updated": f"{job.created:.3f}", "waits": "", "error": ""}
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hset(keys.replay_job(job.id), mapping=fields)  # type: ignore[arg-type]
            pipe.zadd(keys.replays(), {job.id: job.created})
            pipe.sadd(keys.replays("running"), job.id)
            pipe.execute()

    def get(self, ident: str) -> StoredReplay | None:
        """One job, or None."""
        with state_errors():
            stored = cast("dict[bytes, bytes]", self.client.hgetall(keys.replay_job(ident)))
        return next(iter(self._read({ident: stored})), None)

    def newest_first(self, *, before: tuple[float, str] | None = None) -> Iterator[StoredReplay]:
        """The jobs made before (time, id); each page is read when it is needed."""
        at = 0
        least = "+inf" if before is None else repr(before[0])
        while True:
            with state_errors():
                page = cast(
                    "list[tuple[bytes, float]]",
                    self.client.zrevrangebyscore(keys.replays(), least, "-inf", start=at, num=_PAGE, withscores=True),
                )
                chosen = [ident.decode() for ident, made in page if before is None or (made, ident.decode()) < before]
                pipe = self.client.pipeline(transaction=False)
                for ident in chosen:
                    pipe.hgetall(keys.replay_job(ident))
                stored = pipe.execute()
            yield from self._read(dict(zip(chosen, stored, strict=True)))
            if len(page) < _PAGE:
                return
            at += _PAGE

    def running(self) -> list[str]:
        """The ids of the jobs that run, oldest first."""
        with state_errors():
            return sorted(ident.decode() for ident in cast("set[bytes]", self.client.smembers(keys.replays("running"))))

    def lease(self, ident: str, token: str) -> Lease:
        """The right to move a job on."""
        return Lease(self.client, f"replay:{ident}", token, seconds=_LEASE_SECONDS)

    def change(self, ident: str, state: str, allowed: Sequence[str], *, now: float, error: str = "") -> str:
        """Give a job a state if it is in an allowed one; the state that it had, "" if there is no such job."""
        names = [keys.replay_job(ident), keys.replays("running")]
        with state_errors():
            answer = self._change(keys=names, args=[ident, state, f"{now:.3f}", error, *allowed])
        return cast("bytes", answer).decode()

    def fence(self) -> None:
        """Let no job replay what it has read from an archive before this moment: an erasure begins."""
        archived = [stored.job for stored in self.newest_first() if stored.job.archive]
        with state_errors():
            for job in archived:
                for partition in job.partitions:
                    self.client.hincrby(keys.replay_progress(job.id, partition), "epoch", 1)

    def note(self, ident: str, *, now: float, waits: str) -> None:
        """Record why a job waits, "" if it moves on."""
        with state_errors():
            self.client.hset(keys.replay_job(ident), mapping={"updated": f"{now:.3f}", "waits": waits})

    def schedule(self, job: Replay, batch: Batch, *, now: float) -> bool:
        """Schedule the items of a batch, due now, and move the position.

        False if the job had passed it already, or an erasure has begun since the batch was read.
        """
        part = batch.part
        names = [
            *outcome_keys(part.subscription, part.partition),
            keys.replay_progress(job.id, part.partition),
            keys.journal(part.partition),
        ]
        args: list[Any] = [f"{now:.3f}", part.subscription, batch.before, batch.after, int(batch.last)]
        args += [keys.group(part.subscription), batch.excluded, batch.failed, batch.gone, batch.epoch]
        for item in batch.items:
            args += item
        with state_errors():
            return bool(self._batch(keys=names, args=args))

    def record(
        self,
        job: Replay,
        part: Part,
        *,
        after: str,
        last: bool = False,
        counts: Mapping[str, int] | None = None,
        read: Quarantined | None = None,
    ) -> None:
        """Move the position of a part that schedules nothing: quarantined records. `read`: one to remove with it."""
        name = keys.replay_progress(job.id, part.partition)
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            if read is not None:
                add_removal(pipe, read)
            for word, number in (counts or {}).items():
                pipe.hincrby(name, f"{part.subscription}|{word}", number)
            pipe.hset(name, f"{part.subscription}|at", after)
            if last:
                pipe.hset(name, f"{part.subscription}|done", 1)
            pipe.execute()

    def due(self, subscription: str, *, now: float) -> int:
        """The number of deliveries of a subscription that are due and were not sent yet."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for partition in range(self.partitions):
                pipe.zcount(keys.retry(subscription, partition), "-inf", f"{now:.3f}")
            return sum(pipe.execute())

    def trim(self) -> int:
        """Delete the oldest ended jobs beyond `MAX_KEPT`; returns how many."""
        old = [replay.job for replay in self.newest_first() if replay.state in ENDED][MAX_KEPT:]
        with state_errors():
            for job in old:
                for partition in job.partitions:
                    self.client.delete(keys.replay_progress(job.id, partition))
                pipe = self.client.pipeline(transaction=True)
                pipe.delete(keys.replay_job(job.id))
                pipe.zrem(keys.replays(), job.id)
                pipe.execute()
        return len(old)

    def _read(self, stored: Mapping[str, Mapping[bytes, bytes]]) -> list[StoredReplay]:
        """The jobs in these hashes; `stored`: id -> what is there, which may be nothing."""
        readable = []
        for ident, fields in stored.items():
            job = record_or_none(Replay, fields.get(b"job", b""), place=keys.replay_job(ident)) if fields else None
            if job is not None:
                readable.append((job, fields))
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for job, _ in readable:
                for partition in job.partitions:
                    pipe.hgetall(keys.replay_progress(job.id, partition))
            answers = iter(pipe.execute())
        replays = []
        for job, fields in readable:
            of_partition = {partition: next(answers) for partition in job.partitions}
            replays.append(
                StoredReplay(
                    job=job,
                    state=fields.get(b"state", b"").decode(),
                    updated=float(fields.get(b"updated", job.created)),
                    waits=fields.get(b"waits", b"").decode(errors="replace"),
                    error=fields.get(b"error", b"").decode(errors="replace"),
                    progress=tuple(_progress(part, of_partition[part.partition]) for part in job.parts),
                )
            )
        return replays


def _progress(part: Part, fields: Mapping[bytes, bytes]) -> PartProgress:
    def member(word: str) -> bytes | None:
        return fields.get(f"{part.subscription}|{word}".encode())

    counts = {word: int(member(word) or 0) for word in COUNTERS}
    epoch = fields.get(b"epoch", b"0").decode()
    return PartProgress((member("at") or b"").decode(), member("done") is not None, counts, epoch)
