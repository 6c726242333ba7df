"""Runs replay jobs next to the lanes: one batch after another, by the process that holds the lease of the job.

A batch only makes deliveries due; the lanes send them, alternating with new events. No more is made due than the lanes
can send soon, so that a job can be stopped and a receiver is not flooded after an outage. A job without a rate runs
slowly while new events come. The process may be killed between any two effects: `crash` is called there with one of
`CRASH_POINTS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from bridge.delivery.replay_archive import Archive, ArchiveUnavailable, archive_problem
from bridge.delivery.replay_jobs import (
    DONE,
    FAILED,
    QUARANTINE,
    RUNNING,
    Part,
    PartProgress,
    Replay,
    StoredReplay,
    allowance,
)
from bridge.delivery.replay_selection import EXCLUDED, GONE, REPLAY, UNREADABLE, Candidate, Page, Selection
from bridge.delivery.replay_store import Batch, Replays
from bridge.errors import StateUnavailable, clip
from bridge.ingest.reprocess import reprocess_quarantined
from bridge.journal import Quarantined
from bridge.query import QueryError
from bridge.services import Services
from bridge.state.lease import Lease
from workers.dispatch.schedule import fault_backoff

__all__ = ["CRASH_POINTS", "ReplayRunner"]

#: Points between two effects, at which a test may end the process.
CRASH_POINTS = ("leased", "read", "scheduled", "reprocessed", "recorded", "ended")

#: Entries in one batch; a batch of quarantined records is smaller, because each is read by its vendor's folder.
_BATCH, _RECORDS = 50, 10
#: While new events come, and for this many seconds after the last one, a job without a rate replays this many a second,
#: this many together: each takes the lanes' time from new events, and several together take less than one by one.
#: The last number: seconds between two checks whether new events come.
_LIVE_SECONDS, _LIVE_RATE, _LIVE_TOGETHER, _LIVE_ASKED_SECONDS = 5.0, 25.0, 8.0, 0.5
_LIVE_NOTE = f"new events are coming in: {_LIVE_RATE:g} a second. A job with a rate keeps that rate"
#: A subscription with this many deliveries that are due and not sent gets no more.
_MAX_DUE = 1000
#: Seconds until the jobs are read again: if there are none, while one waits.
_IDLE_SECONDS, _WAIT_SECONDS = 1.0, 0.1
#: Seconds after which the reason of a wait is stored again.
_NOTE_SECONDS = 5.0
#: Seconds after which an archive that cannot be read is tried again.
_ARCHIVE_SECONDS = 5.0
#: Internal faults in a row after which a job has failed.
_MAX_FAULTS = 5

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Course:
    """What this process remembers about a job that it runs. Times are UNIX seconds."""

    lease: Lease
    selection: Selection | None = None
    archive: Archive | None = None
    #: What the rate allowed that was not used.
    carried: float = 1.0
    at: float | None = None
    #: Fewest entries to read: more after the filter has excluded some.
    reach: int = 1
    waits: str = ""
    noted_at: float = 0.0
    faults: int = 0


class ReplayRunner:
    """Moves all running jobs on. Not thread-safe. `token` identifies the process.

    `live_seconds`: how long after an event new ones are expected.
    """

    def __init__(
        self,
        services: Services,
        token: str,
        *,
        live_seconds: float = _LIVE_SECONDS,
        crash: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._services = services
        self._live_seconds = live_seconds
        #: UNIX seconds: when new events were asked for, and until when more are expected.
        self._live_asked, self._live_until = 0.0, 0.0
        self._token = token
        self._crash = crash
        self._store = Replays(services.state, partitions=services.config.bridge.partitions)
        self._courses: dict[str, _Course] = {}

    def step(self, now: Callable[[], float]) -> float:
        """One batch of each job; returns the seconds to wait, 0 if there is more to do. Raises `StateUnavailable`."""
        running = self._store.running()
        for ident in self._courses.keys() - set(running):
            self._leave(self._courses.pop(ident))
        return min((self._step_one(ident, now) for ident in running), default=_IDLE_SECONDS)

    def leave(self) -> None:
        """Let other processes continue the jobs at once. Raises `StateUnavailable`."""
        for course in self._courses.values():
            self._leave(course)
        self._courses.clear()

    def _leave(self, course: _Course) -> None:
        if course.archive is not None:
            course.archive.close()
        course.lease.release()

    def _step_one(self, ident: str, now: Callable[[], float]) -> float:
        course = self._courses.setdefault(ident, _Course(self._store.lease(ident, self._token)))
        if not course.lease.hold():
            return _IDLE_SECONDS
        self._crash("leased")
        stored = self._store.get(ident)
        if stored is None or stored.state != RUNNING:
            return _IDLE_SECONDS
        try:
            wait = self._advance(stored, course, now)
            course.faults = 0
        except (StateUnavailable, KeyboardInterrupt):
            raise
        except ArchiveUnavailable as error:
            self._note(ident, course, clip(error, 300), now())
            return _ARCHIVE_SECONDS
        except QueryError as error:
            self._fail(ident, f"its filter cannot be read: {error}", now())
            return 0.0
        except Exception as error:  # noqa: BLE001 - the other jobs and the process continue
            course.faults += 1
            _log.error("replay_faulty", replay=ident, times=course.faults, exc_info=error)
            if course.faults >= _MAX_FAULTS:
                self._fail(ident, f"internal error: {type(error).__name__}; see the log of dispatch", now())
            return fault_backoff(course.faults)
        return wait

    def _advance(self, stored: StoredReplay, course: _Course, now: Callable[[], float]) -> float:
        """Do the next batch of a job; returns the seconds to wait."""
        job, subscriptions = stored.job, self._services.config.subscriptions
        needed = [*job.subscriptions, *([job.archive] if job.archive else [])]
        missing = [name for name in needed if name not in subscriptions]
        if missing:
            self._fail(job.id, f"subscription {missing[0]} is no longer in bridge.yaml. Remedy: add it again", now())
            return 0.0
        left = [(part, done) for part, done in zip(job.parts, stored.progress, strict=True) if not done.done]
        if not left:
            self._end(job, stored)
            return 0.0
        moment = now()
        rate = job.rate or (_LIVE_RATE if self._is_live(moment) else None)
        allowed = allowance(rate, course.carried, moment - (course.at or moment), _BATCH)
        course.carried, course.at = allowed, moment
        least = _LIVE_TOGETHER if rate and not job.rate else 1.0
        if allowed < least:
            self._note(job.id, course, "" if job.rate else _LIVE_NOTE, moment)
            return min(_LIVE_ASKED_SECONDS, (least - allowed) / (rate or 1.0))
        if job.archive and (problem := self._archive_problem(job)):
            self._fail(job.id, problem, now())
            return 0.0
        if job.archive and self._services.erasures.running():
            # The erasure may concern rows still in the table. One that begins after this check changes the epoch.
            self._note(job.id, course, "an erasure is under way: its person's events must not be sent again", moment)
            return _WAIT_SECONDS
        waits = ""
        # A receiver that is behind delays only its own part.
        for part, done in left:
            waits = self._waits(part, moment)
            if not waits:
                course.carried -= self._batch(job, part, done, course, int(allowed), moment)
                break
        self._note(job.id, course, waits or (_LIVE_NOTE if rate and not job.rate else ""), moment)
        return _WAIT_SECONDS if waits else 0.0

    def _archive_problem(self, job: Replay) -> str | None:
        """Why a job cannot read its archive, or why nothing would send what it makes due; None: it can go on."""
        config, needed = self._services.config, max(job.partitions) + 1
        if needed > (served := config.bridge.partitions):
            return f"it is spread over {needed} partitions, and bridge.partitions is {served}. Remedy: make it again"
        return archive_problem(job.archive, config.subscriptions)

    def _selection(self, job: Replay, course: _Course) -> Selection:
        if course.selection is None:
            services, subscriptions = self._services, self._services.config.subscriptions
            if job.archive:
                archive, shared = subscriptions[job.archive], max(job.partitions) + 1
                course.archive = Archive(archive, services.event_index, job.created, partitions=shared)
            course.selection = Selection(services.state, job, subscriptions, archive=course.archive)
        return course.selection

    def _is_live(self, now: float) -> bool:
        """Whether new events come, so that a replay must not delay them."""
        if not 0 <= now - self._live_asked < _LIVE_ASKED_SECONDS:
            self._live_asked = now
            _, newest = self._services.journal_reader.ends()
            self._live_until = (
                max(int(entry.partition("-")[0]) for entry in newest.values()) / 1000 + self._live_seconds
            )
        return now < self._live_until

    def _waits(self, part: Part, now: float) -> str:
        if not part.subscription or self._store.due(part.subscription, now=now) < _MAX_DUE:
            return ""
        return f"{part.subscription} has {_MAX_DUE:,} deliveries that are due and not sent"

    def _batch(self, job: Replay, part: Part, done: PartProgress, course: _Course, allowed: int, now: float) -> int:
        """Replay the next entries of a part, at most `allowed`; returns how many."""
        selection = self._selection(job, course)
        if job.kind == QUARANTINE:
            return self._reprocess(job, part, done, selection, allowed)
        # Entries beyond `allowed` are read again later, so a job that replays one at a time reads one at a time.
        reach = min(_BATCH, max(allowed, course.reach))
        page = _cut(selection.page(part, done.at, reach), allowed)
        self._crash("read")
        verdicts = Counter(candidate.verdict for candidate in page.candidates)
        chosen = [candidate for candidate in page.candidates if candidate.verdict == REPLAY]
        batch = Batch(
            part=part,
            before=done.at,
            after=page.after,
            last=page.last,
            items=[selection.record(candidate) for candidate in chosen],
            excluded=verdicts[EXCLUDED],
            failed=verdicts[UNREADABLE],
            gone=verdicts[GONE],
            epoch=done.epoch,
        )
        course.reach = 1 if chosen else 2 * reach
        self._store.schedule(job, batch, now=now)
        self._crash("scheduled")
        return len(chosen)

    def _reprocess(self, job: Replay, part: Part, done: PartProgress, selection: Selection, allowed: int) -> int:
        """Read the next quarantined records again. One that is read twice is a duplicate, so it is published once."""
        page = selection.page(part, done.at, min(allowed, _RECORDS))
        counts: Counter[str] = Counter()
        for candidate in page.candidates:
            word, item = self._reprocess_one(candidate), candidate.item
            counts[word] += 1
            read = item if word == "replayed" and isinstance(item, Quarantined) else None
            self._store.record(job, part, after=candidate.entry, counts={word: 1}, read=read)
            self._crash("recorded")
        self._store.record(job, part, after=page.after, last=page.last)
        return counts["replayed"] + counts["failed"]

    def _reprocess_one(self, candidate: Candidate) -> str:
        """Read one record again; returns what became of it, one of `COUNTERS`."""
        item, services = candidate.item, self._services
        if candidate.verdict != REPLAY or not isinstance(item, Quarantined):
            return {EXCLUDED: "excluded", GONE: "gone"}.get(candidate.verdict, "failed")
        if item.source not in services.config.sources:
            return "failed"
        stored = services.requests.find(item.request_id) if item.request_id else None
        outcome = reprocess_quarantined(services.ingest_context(item.source), item, stored, now=services.now())
        self._crash("reprocessed")
        return "failed" if outcome == "quarantined" else "replayed"

    def _note(self, ident: str, course: _Course, waits: str, now: float) -> None:
        if waits != course.waits or not 0 <= now - course.noted_at < _NOTE_SECONDS:
            self._store.note(ident, now=now, waits=waits)
            course.waits, course.noted_at = waits, now

    def _end(self, job: Replay, stored: StoredReplay) -> None:
        self._store.change(job.id, DONE, (RUNNING,), now=self._services.now())
        self._crash("ended")
        _log.info("replay_ended", replay=job.id, **stored.counts)

    def _fail(self, ident: str, error: str, now: float) -> None:
        self._store.change(ident, FAILED, (RUNNING,), now=now, error=clip(error))
        _log.warning("replay_failed", replay=ident, problem=clip(error))


def _cut(page: Page, allowed: int) -> Page:
    """The page up to the last entry that may be replayed."""
    replayed = 0
    for number, candidate in enumerate(page.candidates):
        replayed += candidate.verdict == REPLAY
        if replayed > allowed:
            kept = page.candidates[:number]
            return Page(kept, kept[-1].entry, last=False)
    return page
