"""Runs erasure jobs, batch by batch: one process holds the lease of a job, and any other can continue it.

A batch is found, noted and removed, and only then does the position move past it. So nothing is left out wherever the
process is killed, and what is repeated is counted once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from bridge.audit import Change
from bridge.delivery.orphans import known_subscriptions
from bridge.erasure.jobs import DONE, FAILED, RUNNING, Erasure
from bridge.erasure.person import Matcher
from bridge.erasure.places import Context, Place
from bridge.erasure.report import EMBEDDED, EXTERNAL, report_of
from bridge.erasure.steps import STEPS, make_place
from bridge.errors import Retryable, StateUnavailable
from bridge.services import Services
from bridge.state.errors import state_errors
from bridge.state.lease import Lease
from bridge.state.rewriting import begin_rewrite, is_rewriting, last_rewrite_failed
from bridge.state.server_socket import is_embedded
from workers.dispatch.schedule import fault_backoff

__all__ = ["CRASH_POINTS", "ErasureRunner"]

#: Points between two effects, at which a test may end the process.
CRASH_POINTS = ("leased", "read", "noted", "erased", "saved", "forgotten", "rewritten")
#: Entries in one batch.
_BATCH = 500
#: Seconds between two looks at the jobs: if there are none, while the server rewrites its file, and after it failed to.
_IDLE_SECONDS, _WAIT_SECONDS, _AGAIN_SECONDS = 1.0, 0.2, 5.0
_NOT_REWRITTEN = (
    "everything is removed, but the server cannot rewrite its append-only file. Remedy: free disk space, see "
    "server.log in data_dir; it is tried again"
)
#: Internal faults in a row after which a job has failed.
_MAX_FAULTS = 5
_FORGETTING, _REWRITING = STEPS.index("forgetting"), STEPS.index("rewriting")

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Course:
    """What this process remembers about a job that it runs."""

    lease: Lease
    #: The place of the step `step`.
    place: Place | None = None
    step: int = -1
    matcher: Matcher | None = None
    #: Whether this process has begun the rewrite of the append-only file.
    rewriting: bool = False
    faults: int = 0


class ErasureRunner:
    """Moves all running jobs on. Not thread-safe. `token` identifies the process."""

    def __init__(self, services: Services, token: str, *, crash: Callable[[str], None] = lambda point: None) -> None:
        self._services, self._token, self._crash = services, token, crash
        self._store = services.erasures
        self._is_embedded = is_embedded(services.state_url, services.config.bridge.data_dir)
        self._courses: dict[str, _Course] = {}

    def step(self, now: Callable[[], float]) -> float:
        """One batch of each job; returns the seconds to wait, 0 if there is more to do. Raises `StateUnavailable`."""
        running = self._store.running()
        for ident in self._courses.keys() - set(running):
            self._courses.pop(ident).lease.release()
        return min((self._step_one(ident, now) for ident in running), default=_IDLE_SECONDS)

    def leave(self) -> None:
        """Let other processes continue the jobs at once. Raises `StateUnavailable`."""
        for course in self._courses.values():
            course.lease.release()
        self._courses.clear()

    def _step_one(self, ident: str, now: Callable[[], float]) -> float:
        course = self._courses.setdefault(ident, _Course(self._store.lease(ident, self._token)))
        if not course.lease.hold():
            return _IDLE_SECONDS
        self._crash("leased")
        job = self._store.get(ident)
        if job is None or job.state != RUNNING:
            return _IDLE_SECONDS
        try:
            with state_errors():
                wait = self._advance(job, course, now)
            course.faults = 0
        except (StateUnavailable, KeyboardInterrupt):
            raise
        except Retryable as error:
            # A database with the person's rows is away, or refuses.
            self._store.note_error(job.id, f"{error}; it is tried again", now=now())
            return _AGAIN_SECONDS
        except Exception as error:  # noqa: BLE001 - the other jobs and the process continue
            course.faults, course.place, course.step = course.faults + 1, None, -1
            _log.error("erasure_faulty", erasure=ident, times=course.faults, exc_info=error)
            if course.faults >= _MAX_FAULTS:
                self._fail(
                    job, f"internal error: {type(error).__name__}; see the log of dispatch. Remedy: make it again", now
                )
            return fault_backoff(course.faults)
        return wait

    def _advance(self, job: Erasure, course: _Course, now: Callable[[], float]) -> float:
        if job.step == _REWRITING:
            return self._rewrite(job, course, now)
        if job.step == _FORGETTING or job.person is None:
            self._forget(job, now)
            return 0.0
        if job.step == 0 and not job.at:
            self._services.replays.fence()
        if course.matcher is None:
            course.matcher = Matcher(job.person, self._store.traces(job.id))
        if course.place is None or course.step != job.step:
            course.place, course.step = make_place(STEPS[job.step], self._context(job, course.matcher), now), job.step
        batch = course.place.read(job.at, _BATCH)
        self._crash("read")
        learned = set(batch.traces) - course.matcher.traces
        self._store.note(job.id, [f"{hit.place}|{hit.reference}" for hit in batch.hits], learned)
        if learned:
            course.matcher.learn(learned)
        self._crash("noted")
        if batch.hits and not job.dry_run:
            course.place.erase(batch.hits)
        self._crash("erased")
        step, at = (job.step + 1, "") if batch.after is None else (job.step, batch.after)
        self._store.save(job.id, step=step, at=at, read=batch.read, now=now())
        self._crash("saved")
        return 0.0

    def _context(self, job: Erasure, matcher: Matcher) -> Context:
        services = self._services
        partitions = services.config.bridge.partitions
        names = known_subscriptions(services.state, services.config.subscriptions, partitions=partitions)
        return Context(
            client=services.state,
            partitions=partitions,
            source=job.source,
            subscriptions=names,
            matcher=matcher,
            databases=[each for each in services.config.subscriptions.values() if each.transport == "sql"],
        )

    def _forget(self, job: Erasure, now: Callable[[], float]) -> None:
        """Keep only numbers, and nothing about the person. The file, rewritten afterwards, then has nothing either."""
        moment = now()
        self._store.forget_person(job, self._report(job, moment, None), now=moment)
        self._crash("forgotten")
        self._store.save(job.id, step=_REWRITING, at="", read=0, now=moment)

    def _rewrite(self, job: Erasure, course: _Course, now: Callable[[], float]) -> float:
        """Have the embedded server rewrite its file. Another server's file is left alone."""
        rewritten = None
        if self._is_embedded and job.found.counts and not job.dry_run:
            client = self._services.state
            if is_rewriting(client):
                return _WAIT_SECONDS
            if not course.rewriting:
                # A rewrite that was under way may have begun before the last deletion.
                begin_rewrite(client)
                course.rewriting = True
                return _WAIT_SECONDS
            self._crash("rewritten")
            if last_rewrite_failed(client):
                course.rewriting = False
                self._store.note_error(job.id, _NOT_REWRITTEN, now=now())
                return _AGAIN_SECONDS
            rewritten = now()
        ended = (job.report or {}).get("ended", now())
        self._end(job, self._report(job, ended, rewritten), now)
        return 0.0

    def _report(self, job: Erasure, ended: float, rewritten: float | None) -> dict[str, object]:
        server = EMBEDDED if self._is_embedded else EXTERNAL
        retention = self._services.config.bridge.retention
        made = report_of(
            job.found, server=server, ended=ended, retention=retention, rewritten=rewritten, dry_run=job.dry_run
        )
        return dict(made)

    def _end(self, job: Erasure, report: dict[str, object], now: Callable[[], float]) -> None:
        if not job.dry_run:
            after = {"source": job.source, "person": job.digest, **job.found.counts}
            change = Change(f"erasure {job.id}", None, after)
            self._services.audit.record(
                change, actor=job.by, role="operator", action="eraseEnded", now=now(), call_id=f"{job.id} ended"
            )
        self._store.end(job.id, DONE, now=now(), report=report)
        _log.info("erasure_ended", erasure=job.id, dry_run=job.dry_run, **job.found.counts)

    def _fail(self, job: Erasure, error: str, now: Callable[[], float]) -> None:
        self._store.forget_person(job, self._report(job, now(), None), now=now())
        self._store.end(job.id, FAILED, now=now(), error=error)
        _log.warning("erasure_failed", erasure=job.id, problem=error)
