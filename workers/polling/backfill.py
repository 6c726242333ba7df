"""Runs a backfill: reads a period of a source again, page by page, alongside live traffic. It can stop and resume."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from bridge.errors import BridgeError, ConfigError, Unreadable, VendorFault, VendorRefused, VendorUnavailable, clip
from bridge.ingest.context import IngestContext
from bridge.ingest.dry_run import DryRun
from bridge.ingest.period import Period
from bridge.ingest.pipeline import ingest
from bridge.ingest.read_start import read_start
from bridge.ingest.reprocess import reprocess_quarantined, reprocess_request
from bridge.journal import BACKFILL, Quarantined, StoredRequest
from bridge.polling.backfill_jobs import (
    CANCELLED,
    DONE,
    FAILED,
    RUNNING,
    STOPPED,
    WAITING,
    WORKER,
    Backfill,
    Backfills,
)
from bridge.quota.budgets import BACKFILL as SPENDER
from bridge.sdk.vendor import Page, streams
from bridge.services import Services
from bridge.state.lease import Lease
from workers.polling.listing import Interrupted, Listing, refuse_paused
from workers.polling.paging import is_about_cursor

__all__ = ["AlreadyRunning", "BackfillCallbacks", "preview", "run", "to_reprocess"]

_log = structlog.get_logger(__name__)


class AlreadyRunning(BridgeError):
    """Another process runs a backfill of the same source."""

    default_reason = "busy"


@dataclass(frozen=True, kw_only=True)
class BackfillCallbacks:
    """What the caller of a backfill provides."""

    #: Waits a number of seconds.
    sleep: Callable[[float], object]
    #: `show(job, why, until)`: called after every page, and every second while waiting, with the reason and the end
    #: (UNIX seconds).
    show: Callable[[Backfill, str | None, float | None], None]
    #: Whether to stop; called between pages and while waiting.
    stopping: Callable[[], bool]


def run(services: Services, job: Backfill, callbacks: BackfillCallbacks) -> None:
    """Read until the period is read or the backfill is stopped; `job.state` is how it ended, and is stored.

    A killed process loses nothing: the current page is read again. Raises `ConfigError` for a source that is paused in
    bridge.yaml or a stream that it no longer has, `AlreadyRunning`, and `StateUnavailable` with the job as it was last
    stored.
    """
    _refuse_unreadable(services, job)
    store, now, is_new = Backfills(services.state), services.now, not job.updated
    if is_new:
        store.choose_id(job)
    lease = store.lease(job, secrets.token_hex(8))
    if not lease.hold():
        raise AlreadyRunning(
            f"{store.running(job.source) or 'another backfill'} is reading from {job.source}. Wait for it, or stop it "
            f"with `attempt-bridge backfill stop`"
        )
    job.state, job.error = RUNNING, None
    try:
        if is_new and not store.add(job, now()):
            raise AlreadyRunning(f"{job.id} has just been started by another process. Start this one again")
        store.clear_request(job.id)
        store.save(job, now())
        try:
            _read(services, job, callbacks, lease, store)
            job.state = DONE
        except Interrupted as end:
            job.state = _after(job, end)
        except (VendorRefused, VendorUnavailable, VendorFault, Unreadable) as problem:
            job.state, job.error = FAILED, clip(problem, 300)
        job.waits, job.waits_until = "", None
        store.save(job, now())
        store.clear_request(job.id)
        store.trim()
        _log.info("backfill_ended", backfill=job.id, state=job.state, pages=job.pages, outcomes=job.outcomes)
    finally:
        lease.release()


def _refuse_unreadable(services: Services, job: Backfill) -> None:
    """Raise `ConfigError` for a paused source, and for a stream that it no longer has."""
    source = services.config.sources[job.source]
    refuse_paused(source)
    known = streams(services.vendors[source.vendor], source.options)
    gone = [stream for stream in job.streams if stream not in known and stream not in job.finished]
    if gone:
        raise ConfigError(
            f'sources.{source.name}: stream "{clip(gone[0], 80)}" of {job.id} is gone. '
            "Remedy: list it in options again, or cancel the backfill"
        )


def _after(job: Backfill, end: Interrupted) -> str:
    """The state of an interrupted backfill: if its worker is ending, the next worker continues it."""
    if end.reason == "cancelled":
        return CANCELLED
    return WAITING if job.runner == WORKER and end.reason != "stopped" else STOPPED


def preview(services: Services, job: Backfill, callbacks: BackfillCallbacks) -> None:
    """Read the period without publishing or storing anything; `job.outcomes` counts what publishing would do.

    `job` is not stored either. Raises `Interrupted`, and what `Listing` and its `call` raise.
    """

    def check() -> None:
        if callbacks.stopping():
            raise Interrupted("asked to stop")

    _refuse_unreadable(services, job)
    listing = _listing(services, job, callbacks, check)
    dry_run = DryRun(
        context=services.ingest_context(job.source),
        reader=services.journal_reader,
        period=Period(job.first, job.last),
    )

    def check_page(page: Page) -> Mapping[str, int]:
        before = dry_run.outcomes.copy()
        dry_run.preview(page.records, now=services.now())
        return dry_run.outcomes - before

    for stream in job.streams:
        for _ in _pages(listing, job, stream, check_page):
            job.calls = listing.calls
            callbacks.show(job, None, None)


def to_reprocess(services: Services, job: Backfill) -> tuple[int, int]:
    """The numbers of quarantined items and of stored requests that `job.reprocess` selects."""
    quarantined = sum(1 for _ in _quarantined(services, job)) if job.reprocess != "none" else 0
    requests = sum(1 for _ in _requests(services, job)) if job.reprocess == "all" else 0
    return quarantined, requests


def _read(services: Services, job: Backfill, callbacks: BackfillCallbacks, lease: Lease, store: Backfills) -> None:
    def check() -> None:
        if not lease.hold():
            raise AlreadyRunning(f"another process took over {job.id} while this one was paused")
        if request := store.requested(job.id):
            raise Interrupted("requested by an operator", reason="cancelled" if request == "cancel" else "stopped")
        if callbacks.stopping():
            raise Interrupted("asked to stop")

    context, listing, before = services.ingest_context(job.source), _listing(services, job, callbacks, check), job.calls
    if not job.reprocessed:
        for outcome in _process_stored(services, context, job):
            job.count({outcome: 1})
            callbacks.show(job, "processing stored requests again", None)
            check()
        job.reprocessed = True
        store.save(job, services.now())

    as_of, period = read_start(context), Period(job.first, job.last)

    def publish(page: Page) -> Mapping[str, int]:
        nonlocal as_of
        report = ingest(context, page.records, origin=BACKFILL, now=services.now(), as_of=as_of, period=period)
        as_of = read_start(context)  # the next page is read after this one
        return report.outcomes

    fault: VendorFault | Unreadable | None = None
    for stream in [name for name in job.streams if name not in job.finished]:
        began_at = job.cursors.get(stream)
        try:
            for _ in _pages(listing, job, stream, publish):
                job.calls = before + listing.calls
                store.save(job, services.now())
                callbacks.show(job, None, None)
        except (VendorFault, Unreadable) as problem:
            # The other streams are still read.
            fault = fault or problem
            _leave_unread(job, stream, problem, began_at)
    if fault is not None:
        raise fault


def _leave_unread(job: Backfill, stream: str, problem: VendorFault | Unreadable, began_at: str | None) -> None:
    """When resumed, it continues at this page. Only if that page fails immediately may the cursor be the problem: this
    stream then starts over. It also does so after a part of it could not be read."""
    if is_about_cursor(problem) or stream in job.finished or job.cursors.get(stream) == began_at:
        job.cursors.pop(stream, None)
        job.finished = [name for name in job.finished if name != stream]


def _listing(services: Services, job: Backfill, callbacks: BackfillCallbacks, check: Callable[[], None]) -> Listing:
    return Listing(
        services=services,
        source=services.config.sources[job.source],
        spender=SPENDER,
        check=check,
        sleep=callbacks.sleep,
        waiting=partial(callbacks.show, job),
        rate=job.rate,
    )


def _pages(listing: Listing, job: Backfill, stream: str, use: Callable[[Page], Mapping[str, int]]) -> Iterator[None]:
    """Pass every page to `use`, then record in the job that it was read."""
    start = listing.streams[stream].start
    for page, following in listing.pages(stream, job.cursors.get(stream) or start(job.first, job.last), job.last):
        with listing.traced.publishing():
            job.count(use(page))
        job.pages += 1
        job.records += len(page.records)
        if following is None:
            job.finished.append(stream)
            job.cursors.pop(stream, None)
        else:
            job.cursors[stream] = following
        yield


def _process_stored(services: Services, context: IngestContext, job: Backfill) -> Iterator[str]:
    """Process quarantined items, then stored requests, with the current code; the outcome of each."""
    if job.reprocess == "none":
        return
    for entry in _quarantined(services, job):
        stored = services.requests.find(entry.request_id) if entry.request_id else None
        outcome = reprocess_quarantined(context, entry, stored, now=services.now())
        if outcome != "quarantined":
            services.quarantine.remove(entry)
        yield outcome
    if job.reprocess == "all":
        for request in _requests(services, job):
            yield reprocess_request(context, request, now=services.now())


def _quarantined(services: Services, job: Backfill) -> Iterator[Quarantined]:
    items = services.quarantine.list(source=job.source)
    return (item for item in items if job.first <= item.received_at <= job.last)


def _requests(services: Services, job: Backfill) -> Iterator[StoredRequest]:
    # Processing a request stores a copy, which is later than the period's end and so is not read here.
    requests = services.requests.list(source=job.source, since=job.first, until=job.last)
    # Quarantined requests were processed above, and the senders of rejected ones are unproven.
    return (request for request in requests if request.outcome not in ("quarantined", "rejected"))
