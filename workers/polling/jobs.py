"""Runs in the worker what the API has asked for: backfills, reconciliations, tests of sources.

Each job has a lease, so that one worker runs it; if that worker ends, the next one continues the job.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

import structlog

from bridge.errors import BridgeError, ConfigError, StateUnavailable, clip
from bridge.polling import backfill_jobs, worker_jobs
from bridge.polling.backfill_jobs import Backfill, Backfills
from bridge.polling.worker_jobs import BACKFILL, RECONCILIATION, TEST, OpenJobs, WorkerJob, WorkerJobs
from bridge.services import Services
from bridge.state.lease import Lease
from workers.polling import backfill
from workers.polling.backfill import AlreadyRunning, BackfillCallbacks
from workers.polling.listing import Interrupted
from workers.polling.reconcile import ReconcileOptions, reconcile
from workers.polling.source_access import never
from workers.polling.source_test import steps

__all__ = ["JobRunner"]

#: A test that no worker has begun within this many seconds is not run: nobody waits for it any longer.
_LATEST_TEST = 60.0
#: Seconds after which the reason of a wait is stored again, so that its end is up to date.
_NOTE_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class JobRunner:
    """The jobs of one worker process. `stopping`: whether running jobs are to end at the next page."""

    def __init__(self, services: Services, stopping: Callable[[], bool] = never) -> None:
        self._services = services
        self._stopping = stopping
        # One long job at a time, so that the worker's other threads can poll and recheck.
        self._long = threading.Lock()

    def run(self, kind: str, ident: str) -> None:
        """Run an open job, unless another process does, or this one has a long job. Raises `StateUnavailable`."""
        if kind == TEST:
            self._run(kind, ident, _run_test)
        elif self._long.acquire(blocking=False):
            try:
                self._run(kind, ident, _run_backfill if kind == BACKFILL else _run_reconciliation)
            finally:
                self._long.release()

    def _run(self, kind: str, ident: str, work: Callable[[Services, str, Callable[[], bool]], None]) -> None:
        try:
            work(self._services, ident, self._stopping)
        except StateUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - it would fail again with every tick
            _log.error("job_faulty", kind=kind, job=ident, exc_info=error)
            _fail(self._services, kind, ident, f"internal error: {type(error).__name__}; see the log of the worker")


def _fail(services: Services, kind: str, ident: str, problem: str) -> None:
    if kind == BACKFILL:
        backfills = Backfills(services.state)
        if (failed := backfills.get(ident)) is not None:
            failed.state, failed.error = backfill_jobs.FAILED, problem
            backfills.save(failed, services.now())
    else:
        jobs = WorkerJobs(services.state)
        if (job := jobs.get(ident)) is not None:
            job.state, job.error = worker_jobs.FAILED, problem
            jobs.save(job, services.now())
    OpenJobs(services.state).remove(kind, ident)


def _gone(services: Services, source: str) -> str:
    return "" if source in services.config.sources else f"source {source} is no longer in bridge.yaml. Add it again"


def _run_backfill(services: Services, ident: str, stopping: Callable[[], bool]) -> None:
    store = Backfills(services.state)
    job = store.get(ident)
    if job is not None and job.state == backfill_jobs.RUNNING:
        return
    if job is None or job.state != backfill_jobs.WAITING:
        OpenJobs(services.state).remove(BACKFILL, ident)
        return
    if problem := _gone(services, job.source):
        _fail(services, BACKFILL, ident, problem)
        return
    try:
        if job.dry_run:
            _preview(services, store, job, stopping)
        else:
            note = _Note(lambda: store.save(job, services.now()), services.now)
            callbacks = BackfillCallbacks(
                sleep=time.sleep, show=lambda job, why, until: note(job, why, until), stopping=stopping
            )
            backfill.run(services, job, callbacks)
    except AlreadyRunning:
        # It waits until the source's other backfill has ended.
        return
    except ConfigError as error:
        _fail(services, BACKFILL, ident, clip(error.problems[0], 300))
        return
    if job.state != backfill_jobs.WAITING:
        OpenJobs(services.state).remove(BACKFILL, ident)


def _preview(services: Services, store: Backfills, job: Backfill, stopping: Callable[[], bool]) -> None:
    """Do a dry run, always from its beginning: it keeps no cursors.

    Raises `AlreadyRunning`, `ConfigError`, `StateUnavailable`.
    """
    lease = store.lease(job, secrets.token_hex(8))
    if not lease.hold():
        raise AlreadyRunning(f"another backfill is reading from {job.source}")
    try:
        job.state, job.outcomes, job.finished, job.cursors = backfill_jobs.RUNNING, {}, [], {}
        job.pages = job.records = job.calls = 0
        store.save(job, services.now())
        job.stored = list(backfill.to_reprocess(services, job))
        job.state, job.error = _previewed(services, store, job, lease, stopping)
        job.waits, job.waits_until = "", None
        store.save(job, services.now())
        store.clear_request(job.id)
        store.trim()
    finally:
        lease.release()


def _previewed(
    services: Services, store: Backfills, job: Backfill, lease: Lease, stopping: Callable[[], bool]
) -> tuple[str, str | None]:
    """How a dry run ended: its state, and why it failed."""
    note = _Note(lambda: store.save(job, services.now()), services.now)

    def ends() -> bool:
        return stopping() or not lease.hold() or store.requested(job.id) is not None

    def show(job: Backfill, why: str | None, until: float | None) -> None:
        if why is None:
            store.save(job, services.now())
        note(job, why, until)

    try:
        backfill.preview(services, job, BackfillCallbacks(sleep=time.sleep, show=show, stopping=ends))
    except Interrupted:
        asked = store.requested(job.id) is not None
        return (backfill_jobs.CANCELLED if asked else backfill_jobs.WAITING), None
    except (ConfigError, StateUnavailable):
        raise
    except BridgeError as problem:
        return backfill_jobs.FAILED, clip(problem, 300)
    return backfill_jobs.DONE, None


def _run_reconciliation(services: Services, ident: str, stopping: Callable[[], bool]) -> None:
    store = WorkerJobs(services.state)
    begun = _begin(services, store, RECONCILIATION, ident)
    if begun is None:
        return
    job, lease = begun

    def check() -> None:
        if not lease.hold():
            raise Interrupted("another process took over while this one was paused")
        if store.stop_requested(job.id):
            raise Interrupted("requested by an operator", reason="stopped")
        if stopping():
            raise Interrupted("this process is stopping")

    note = _Note(lambda: store.save(job, services.now()), services.now)
    options = ReconcileOptions(
        since=job.options["since"],
        until=job.options["until"],
        fix=job.options["fix"],
        check=check,
        waiting=lambda why, until: note(job, why, until),
        job=job.id,
        by=job.by,
    )
    try:
        try:
            reconcile(services, job.source, options)
            job.state = worker_jobs.DONE
        except Interrupted as end:
            job.state = worker_jobs.STOPPED if end.reason == "stopped" else worker_jobs.WAITING
        except StateUnavailable:
            raise
        except BridgeError as problem:
            job.state, job.error = worker_jobs.FAILED, clip(problem, 300)
        job.waits, job.waits_until = "", None
        store.save(job, services.now())
    finally:
        lease.release()


def _run_test(services: Services, ident: str, stopping: Callable[[], bool]) -> None:
    store = WorkerJobs(services.state)
    begun = _begin(services, store, TEST, ident)
    if begun is None:
        return
    job, lease = begun
    try:
        if services.now() - job.created > _LATEST_TEST:
            job.error = f"no worker began it within {_LATEST_TEST:g} s. Test again"
        else:
            # It starts from the beginning if a worker was killed.
            job.steps = []
            for step in steps(services, services.config.sources[job.source]):
                job.steps.append(asdict(step))
                store.save(job, services.now())
        job.state = worker_jobs.FAILED if job.error else worker_jobs.DONE
        store.save(job, services.now())
    finally:
        lease.release()


def _begin(services: Services, store: WorkerJobs, kind: str, ident: str) -> tuple[WorkerJob, Lease] | None:
    """Take a job to run in this process, with its lease; None if there is nothing to run."""
    job = store.get(ident)
    if job is None:
        OpenJobs(services.state).remove(kind, ident)
        return None
    if job.state in worker_jobs.ENDED:
        store.save(job, job.updated)
        return None
    lease = store.lease(job, secrets.token_hex(8))
    if not lease.hold():
        return None
    if problem := _gone(services, job.source):
        _fail(services, kind, ident, problem)
        lease.release()
        return None
    job.state = worker_jobs.RUNNING
    store.save(job, services.now())
    return job, lease


class _Note:
    """Stores why a job waits when the reason changes, and now and then while it stays the same."""

    def __init__(self, save: Callable[[], object], now: Callable[[], float]) -> None:
        self._save = save
        self._now = now
        self._at = 0.0

    def __call__(self, job: Backfill | WorkerJob, why: str | None, until: float | None) -> None:
        reason, now = why or "", self._now()
        if reason == job.waits and (not reason or 0 <= now - self._at < _NOTE_SECONDS):
            return
        job.waits, job.waits_until, self._at = reason, until if reason else None, now
        self._save()
