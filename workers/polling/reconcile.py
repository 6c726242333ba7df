"""Reconciles a source: compares the vendor's list with what was published, on request and every night."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from bridge.config.model import Source
from bridge.errors import BridgeError, StateUnavailable, Unreadable, VendorFault, clip
from bridge.ingest.dry_run import DryRun
from bridge.ingest.pipeline import ingest
from bridge.journal import BACKFILL, PUBLISHED_OUTCOMES
from bridge.polling.reconciliation import (
    Listed,
    Published,
    Reconciliation,
    Reconciliations,
    compare,
    delays,
    findings,
    settled_until,
)
from bridge.quota.budgets import RECONCILE
from bridge.sdk.vendor import NormalisedAttempt, Record, streams
from bridge.services import Services
from bridge.state.lease import Lease
from schemas.event import COMPLETED, VOIDED
from workers.polling.listing import Interrupted, Listing
from workers.polling.source_access import never
from workers.polling.vendor_records import listed_records, rechecked_records

__all__ = ["ReconcileOptions", "nightly", "reconcile"]

#: Period of a nightly run, seconds: yesterday, and attempts that appeared late the day before.
_NIGHTLY_SECONDS = 2 * 86_400.0
#: When the nightly run is due, seconds after midnight UTC.
_NIGHT = 2 * 3600.0
#: Longest nightly run of one source, seconds; most of it is waiting for the budget.
_MAX_SECONDS = 6 * 3600.0
#: After this many runs that a fault of the vendor ended, the next one waits for the next night: each starts over.
_MAX_FAILURES = 3
_LEASE_SECONDS = 60.0
_BATCH = 200

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReconcileOptions:
    """What to reconcile, and how. `check`, `sleep` and `waiting`: as in `workers.polling.listing.Listing`."""

    #: Start of the period, by finish, UNIX seconds.
    since: float
    #: End of the period, by finish, UNIX seconds.
    until: float
    #: Whether to publish missing and outdated attempts.
    fix: bool = False
    #: Raises to end the reading.
    check: Callable[[], None]
    #: Waits a number of seconds.
    sleep: Callable[[float], object] = time.sleep
    #: Called every second with why nothing is read and until when.
    waiting: Callable[[str, float], None] = lambda why, until: None
    #: Id of the job that asked for it; empty: none.
    job: str = ""
    #: Who asked for it; empty: nobody.
    by: str = ""


def reconcile(services: Services, source_name: str, options: ReconcileOptions) -> Reconciliation:
    """Compare a period of one source and store the result. Reading costs calls; the result states how many.

    A vendor without a list is asked for every expectation and every watch separately. An item that cannot be read, such
    as one form of several, is named in the result. Raises what `ReconcileOptions.check` and `Listing.call` raise, and
    stores no result then.
    """
    source, started = services.config.sources[source_name], services.now()
    listing = Listing(
        services=services,
        source=source,
        spender=RECONCILE,
        check=options.check,
        sleep=options.sleep,
        waiting=options.waiting,
    )
    result = Reconciliation(
        source=source_name, since=options.since, until=options.until, made=started, job=options.job, by=options.by
    )
    listed, publishable = _listed(services, listing, result)
    published = _published(services, source_name, options.since)
    compared = findings(
        listed,
        published,
        services.journal_reader.attempts(source_name, listed.keys() | published.keys()),
        _announced(services, source_name, options.since),
        _expected(services, source_name, options.until),
        since=options.since,
        until=options.until,
    )
    result.days, result.ids = compare(compared)
    if result.unread:
        # What is not listed may be in a stream that could not be read.
        result.ids["unlisted"] = []
    # A finish that the bridge itself observed says nothing about delay.
    stated = (event for event in published.values() if event.id not in listed or listed[event.id].finished is not None)
    result.delays = delays(stated, since=options.since, until=options.until)
    if options.fix:
        result.fixed = _publish(services, source_name, result, publishable)
    result.calls, result.seconds = listing.calls, services.now() - started
    Reconciliations(services.state).keep(result)
    _log.info(
        "reconciled",
        source=source_name,
        listed=result.total("listed"),
        missing=result.total("missing"),
        calls=result.calls,
        fixed=len(result.fixed),
        unread=sorted(result.unread),
    )
    return result


def nightly(services: Services, *, stopping: Callable[[], bool] = never) -> list[str]:
    """Reconcile every source that is due tonight, one after the other; returns the names of those reconciled.

    Called every hour: the next call repeats what budget, vendor or a restart interrupted. A second caller at
    the same time does nothing. Raises `StateUnavailable`.
    """
    lease = Lease(services.state, "reconcile", secrets.token_hex(16), seconds=_LEASE_SECONDS)
    if not lease.hold():
        return []
    done = []
    try:
        for name, source in services.config.sources.items():
            if _is_due_tonight(services, source) and _reconcile_tonight(services, name, lease, stopping):
                done.append(name)
    finally:
        lease.release()
    return done


def _reconcile_tonight(services: Services, name: str, lease: Lease, stopping: Callable[[], bool]) -> bool:
    started = services.now()

    def check() -> None:
        if not lease.hold():
            raise Interrupted("another process took over while this one was paused")
        if stopping():
            raise Interrupted("this process is stopping")
        if services.now() - started > _MAX_SECONDS:
            raise Interrupted(f"it took longer than {_MAX_SECONDS / 3600:g} hours. Raise sources.{name}.budget")

    until = settled_until(services.config.sources[name], started)
    limit = services.vendors[services.config.sources[name].vendor].look_back_limit
    # An hour less, because the limit moves while the list is read.
    since = until - (_NIGHTLY_SECONDS if limit is None else min(_NIGHTLY_SECONDS, limit - 3600.0))
    try:
        result = reconcile(services, name, ReconcileOptions(since=since, until=until, check=check))
    except StateUnavailable:
        raise
    except BridgeError as problem:
        if isinstance(problem, VendorFault | Unreadable):
            Reconciliations(services.state).fail(name, _night(started))
        _log.warning("reconciliation_interrupted", source=name, reason=problem.reason, problem=clip(problem, 300))
        return False
    if result.total("missing"):
        remedy = f"attempt-bridge reconcile --source {name} --since 2d --fix"
        _log.error("attempts_missing", source=name, missing=result.total("missing"), remedy=remedy)
    return True


def _is_due_tonight(services: Services, source: Source) -> bool:
    vendor, now = services.vendors[source.vendor], services.now()
    is_readable = vendor.recheck or streams(vendor, source.options)
    if source.paused or services.budgets.paused(source.name, now) or not is_readable:
        return False
    kept, night = Reconciliations(services.state), _night(now)
    if kept.failures(source.name, night) >= _MAX_FAILURES:
        return False
    last = kept.last(source.name)
    # The first run is at night, too: right after the first start there is nothing to compare. A run dated tomorrow or
    # later was made before the clock was set back.
    return now - night < _MAX_SECONDS if last is None else not night <= last.made < night + 86_400.0


def _night(now: float) -> float:
    """When the last nightly run was due, UNIX seconds."""
    return now - (now - _NIGHT) % 86_400.0


def _listed(
    services: Services, listing: Listing, result: Reconciliation
) -> tuple[dict[str, Listed], dict[str, Record]]:
    """The vendor's attempts by id, and the records of those that are not published yet or outdated."""
    listed: dict[str, Listed] = {}
    publishable: dict[str, Record] = {}
    dry_run = DryRun(context=services.ingest_context(listing.source.name), reader=services.journal_reader)
    read = listed_records(listing, result) if listing.streams else rechecked_records(listing, result)
    for records in read:
        result.records += len(records)
        for checked in dry_run.preview(records, now=services.now()):
            attempt = checked.attempt
            before = listed.get(attempt.attempt_id)
            outdated = checked.outcome == "revised" or (before is not None and before.outdated)
            listed[attempt.attempt_id] = _row(attempt, outdated)
            if checked.outcome in PUBLISHED_OUTCOMES:
                publishable[attempt.attempt_id] = checked.record
    result.unreadable += dry_run.outcomes["quarantined"]
    return listed, publishable


def _row(attempt: NormalisedAttempt, outdated: bool) -> Listed:
    finished = None if attempt.completed_at_is_observed else attempt.completed_at
    return Listed(
        id=attempt.attempt_id,
        keys=(attempt.attempt_id, *attempt.aliases),
        finished=None if finished is None else finished.timestamp(),
        outdated=outdated,
    )


def _published(services: Services, source: str, since: float) -> dict[str, Published]:
    """The first events since a moment, by attempt id: what finished after that moment was published after it."""
    published = {}
    for stored in services.journal_reader.events(since=since, source=source):
        if stored.type in (COMPLETED, VOIDED):
            try:
                published[stored.attempt] = _first_event(stored.attempt, json.loads(stored.event))
            except (ValueError, KeyError, TypeError) as error:
                # Its memory shows that it was published.
                _log.error("event_unreadable", source=source, entry=stored.entry_id, error=type(error).__name__)
    return published


def _first_event(attempt_id: str, event: Mapping[str, Any]) -> Published:
    finished = event["data"]["attempt"]["completed_at"]
    return Published(
        id=attempt_id,
        finished=None if finished is None else _seconds(finished),
        recorded=_seconds(event["recordedtime"]),
        origin=event["bridgeorigin"],
    )


def _announced(services: Services, source: str, since: float) -> set[str]:
    """Keys of attempts that webhooks pointed to. Reads every stored request, so only if the source has pointers."""
    counts = services.journal_reader.counts(int(since // 86_400), int(services.now() // 86_400))
    if not counts.get((source, "webhook", "watching")):
        return set()
    requests = services.requests.list(source=source, outcome="watching", since=since)
    return {key for request in requests for key in request.attempts}


def _expected(services: Services, source: str, until: float) -> dict[str, float]:
    """Key -> due time of the expectations that were due. An expanded one is replaced by others."""
    expected = services.expectations.list(source)
    return {item.key: item.due for item in expected if item.state != "expanded" and item.due <= until}


def _publish(services: Services, source: str, result: Reconciliation, publishable: Mapping[str, Record]) -> list[str]:
    wanted = dict.fromkeys([*result.ids["missing"], *result.ids["outdated"]])
    records = [publishable[attempt_id] for attempt_id in wanted if attempt_id in publishable]
    fixed: list[str] = []
    for start in range(0, len(records), _BATCH):
        batch = records[start : start + _BATCH]
        fixed += ingest(services.ingest_context(source), batch, origin=BACKFILL, now=services.now()).published_ids
    return fixed


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
