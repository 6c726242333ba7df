"""Rechecks watched attempts: open or ungraded ones, those that webhooks point to, those that operators expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from bridge.errors import (
    BridgeError,
    BudgetExhausted,
    Retryable,
    StateUnavailable,
    Unreadable,
    VendorFault,
    VendorThrottled,
    VendorUnavailable,
    clip,
)
from bridge.ingest.context import IngestReport
from bridge.ingest.intake import unreadable_on_error
from bridge.ingest.pipeline import ingest
from bridge.ingest.read_start import ReadStart, read_start
from bridge.journal import POLL
from bridge.polling import watches
from bridge.polling.recheck_schedule import Found, after_recheck
from bridge.polling.watches import OpenWatch
from bridge.quota.budgets import OVERDUE, POINTER, REREAD
from bridge.sdk.spelling import same_attempt
from bridge.sdk.vendor import Pointer, Record, Resume
from bridge.services import Services
from workers.polling.following import follow
from workers.polling.overdue import handle_overdue
from workers.polling.source_access import REFUSALS, SourceAccess, exclusive_access, never, record_refusal
from workers.polling.traced_reading import recheck_span

__all__ = ["MAX_RECHECKS", "RecheckReport", "recheck", "recheck_due"]

#: Maximum number of rechecks in one run, so that many watches do not delay the poll.
MAX_RECHECKS = 20
#: A recheck without an answer is repeated after this many seconds.
_NO_ANSWER_SECONDS = 60.0
#: Longest wait for a watch whose state cannot be stored, seconds.
_LONGEST_WAIT_SECONDS = 6 * 3600.0
#: After this many rechecks in a row without an answer the vendor is down, and is left alone for some seconds.
_NO_ANSWERS, _VENDOR_DOWN_SECONDS = 3, 30.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class RecheckReport:
    """The result of rechecking the due watches of a source."""

    #: Name of the source.
    source: str
    #: `done`, `cut_short` (`error` says why), `idle` (no watch is due), `busy`, `paused`, `off`.
    outcome: str
    #: Number of watches that were rechecked.
    rechecks: int = 0
    #: Outcome of publishing -> number of records.
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Keys of the watches that are past their deadline.
    given_up: list[str] = field(default_factory=list)
    #: Calls that cost budget.
    calls: int = 0
    #: The last problem, in one line.
    error: str | None = None
    #: UNIX seconds before which rechecking again is useless; None: unknown.
    retry_at: float | None = None


def recheck(
    services: Services, source_name: str, *, limit: int = MAX_RECHECKS, stopping: Callable[[], bool] = never
) -> RecheckReport:
    """Recheck up to `limit` due watches, the most overdue first; the budget reserves calls for each kind.

    A watch closes when its attempt is settled, and is given up after its deadline. A fault in a vendor's folder is
    logged, and counts as a recheck of only that watch. Raises `StateUnavailable`.
    """
    source, now = services.config.sources[source_name], services.now()
    vendor = services.vendors[source.vendor]
    if source.paused or vendor.recheck is None:
        return RecheckReport(source=source_name, outcome="off")
    services.source_clock.follow(source_name, now)
    if not services.watches.due_count(source_name, now):
        return RecheckReport(source=source_name, outcome="idle")
    if pause := services.budgets.paused(source_name, now):
        return RecheckReport(source=source_name, outcome="paused", retry_at=pause.until)
    with exclusive_access(services, source, spender=OVERDUE, stopping=stopping) as access:
        if access is None:
            return RecheckReport(source=source_name, outcome="busy")
        report = RecheckReport(source=source_name, outcome="done")
        try:
            recheck_due(access, report, limit)
        except REFUSALS as problem:
            _cut_short(access, report, problem)
        finally:
            report.calls = access.calls.made
            _log.info("rechecked", source=source_name, rechecks=report.rechecks, outcomes=dict(report.outcomes))
        return report


def recheck_due(access: SourceAccess, report: RecheckReport, limit: int) -> None:
    """Recheck due watches; also done between the pages of a long round. Raises one of `REFUSALS` to end the access."""
    exhausted, before, unanswered = set[str](), access.calls.spender, 0
    # Read here, under the lease: another process may have rechecked them a moment ago.
    for watch in access.services.watches.due(access.source.name, access.services.now(), limit):
        spender = _spender(watch)
        if spender in exhausted:
            continue
        access.raise_if_stopping()
        access.calls.spender, made = spender, access.calls.made
        as_of = read_start(access.context)
        try:
            problem, result = _try(access, watch, report, as_of)
        finally:
            access.calls.spender = before
        if isinstance(problem, BudgetExhausted):
            exhausted.add(spender)
            _cut_short(access, report, problem)
            if (calls := access.calls.made - made) > 0:
                # It counts: otherwise it would use up the calls of every period. A quarter of them is too many.
                too_long = calls >= access.source.budget.calls / 4
                _count(access, watch, report, as_of, answer=Found.NOTHING if too_long else None)
        elif isinstance(problem, VendorUnavailable | VendorThrottled):
            _postpone(access, watch, report, as_of, problem)
            unanswered += 1
            if unanswered == _NO_ANSWERS or problem.retry_at is not None or isinstance(problem, VendorThrottled):
                raise problem
        else:
            unanswered = 0
            _count(access, watch, report, as_of, answer=result)


def _spender(watch: OpenWatch) -> str:
    if watch.kind in (watches.ATTEMPT, watches.EXPECTATION):
        return OVERDUE
    return POINTER if _is_announced(watch) else REREAD


def _is_announced(watch: OpenWatch) -> bool:
    return watch.kind == watches.POINTER or watch.announced is not None


def _try(
    access: SourceAccess, watch: OpenWatch, report: RecheckReport, as_of: ReadStart
) -> tuple[BridgeError | None, Found]:
    """Do one recheck; returns a problem that only concerns its watch or spender, and what was found."""
    result = Found.NOTHING
    try:
        with recheck_span(access.source, watch.kind), unreadable_on_error(access.source.name, "recheck"):
            result = _recheck_watch(access, watch, report, as_of)
    except (BudgetExhausted, VendorUnavailable, VendorThrottled) as problem:
        report.error = clip(problem, 300)
        # During a pause, before the call: nothing was asked about this watch.
        if isinstance(problem, VendorThrottled) and problem.reason == "paused":
            raise
        return problem, Found.NOTHING
    except (*REFUSALS, StateUnavailable):
        raise
    except (VendorFault, Unreadable) as fault:
        record_refusal(access, fault)
        report.error = clip(fault, 300)
    return None, result


def _postpone(
    access: SourceAccess, watch: OpenWatch, report: RecheckReport, as_of: ReadStart, problem: Retryable
) -> None:
    """Move the next recheck without counting one, unless it was urged meanwhile; after its deadline it counts.

    One attempt for which the vendor has no answer must not delay all others, nor the poll after a pause.
    """
    services, name, now = access.services, access.source.name, access.services.now()
    if now >= watch.give_up_at:
        _count(access, watch, report, as_of, answer=Found.NOTHING)
        return
    current = services.watches.get(name, watch.key)
    if current is not None and current.version <= as_of.version:
        due = max(now, problem.retry_at or now) + _NO_ANSWER_SECONDS
        services.watches.replace(name, current, replace(current, due=min(due, max(now, current.give_up_at))))


def _count(
    access: SourceAccess, watch: OpenWatch, report: RecheckReport, as_of: ReadStart, *, answer: Found | None
) -> None:
    """Set the next recheck, or end the watch; one that was urged meanwhile stays due. `answer` None: cut short."""
    report.rechecks += 1
    try:
        with unreadable_on_error(access.source.name, "recheck"):
            _set_next(access, watch, report, as_of, answer=answer)
    except Unreadable as fault:
        # If it stayed due, it would spend a call every turn. Its rechecks cannot be counted: the wait grows with age.
        report.error = clip(fault, 300)
        now = access.services.now()
        wait = min(max((now - watch.opened_at) / 2, _NO_ANSWER_SECONDS), _LONGEST_WAIT_SECONDS)
        access.services.watches.postpone(access.source.name, watch.key, as_of=as_of.version, due=now + wait)


def _set_next(
    access: SourceAccess, watch: OpenWatch, report: RecheckReport, as_of: ReadStart, *, answer: Found | None
) -> None:
    services, name = access.services, access.source.name
    current = services.watches.get(name, watch.key)
    if current is None or current.version > as_of.version:
        return
    following = after_recheck(
        watch,
        current,
        pointer_schedule=access.vendor.pointer_schedule,
        recheck_schedule=access.vendor.recheck_schedule,
        answer=answer or Found.NOTHING,
        complete=answer is not None,
        now=services.now(),
    )
    if following.overdue:
        # Announced first, which has an effect only once however often it is repeated, then recorded.
        handle_overdue(services, access.source, current, ended=following.watch is None)
    if following.watch != current:
        services.watches.replace(name, current, following.watch)
    if following.overdue and following.watch is None:
        report.given_up.append(watch.key)


def _recheck_watch(access: SourceAccess, watch: OpenWatch, report: RecheckReport, as_of: ReadStart) -> Found:
    """Ask the vendor and publish the answer; returns which attempts it has."""
    if access.vendor.recheck is None:
        raise AssertionError("sources without a recheck have no watches here")
    services, name = access.services, access.source.name
    with access.calls.reading():
        answer = access.vendor.recheck(access.client, watch.reference)
    _resume(services, name, watch, [item for item in answer if isinstance(item, Resume)], as_of)
    records = [item for item in answer if isinstance(item, Record)]
    # Publishing closes the watches of settled attempts and keeps the others open.
    context = replace(access.context, announced=_is_announced(watch))
    ingested = ingest(context, records, origin=POLL, now=services.now(), as_of=as_of)
    report.outcomes += ingested.outcomes
    pointers = [item for item in answer if isinstance(item, Pointer)]
    if pointers:
        follow(access, watch, pointers)
    if watch.kind == watches.EXPECTATION and _meets(access, watch, ingested):
        expected = services.expectations.get(name, watch.key)
        if expected is not None and expected.stored == watch.stored_expectation:
            new = ingested.published_ids and (watch.key,)
            services.expectations.mark_met(name, (expected,), new=new, as_of=as_of.version)
    elif watch.kind == watches.POINTER and ingested.published_ids and not _stays_open(watch.key, ingested):
        services.watches.settle(name, {watch.key: True}, now=services.now(), as_of=as_of.version)
    return Found.NAMED if pointers else _found(watch.key, ingested)


def _resume(services: Services, name: str, watch: OpenWatch, stops: Sequence[Resume], as_of: ReadStart) -> None:
    # Does nothing if the watch was urged or changed meanwhile.
    for stop in stops:
        current = services.watches.get(name, watch.key)
        if current is None or current.version > as_of.version:
            continue
        if current.reference == watch.reference != stop.reference:
            services.watches.replace(name, current, replace(current, reference=stop.reference))


def _stays_open(key: str, ingested: IngestReport) -> bool:
    """Whether an attempt that is not final was published under this very key: its record has opened the watch again."""
    return any(attempt.attempt_id == key and attempt.watch is not None for attempt, _ in ingested.publishable)


def _found(key: str, ingested: IngestReport) -> Found:
    """Whether an answer has what a webhook pointed to: under an attempt id that is this attempt or a later sitting.

    Ids use the vendor's spelling, keys that of the webhook or the operator.
    """
    if not ingested.read_ids:
        return Found.NOTHING
    named = (same_attempt(attempt_id, key) or attempt_id.startswith(f"{key}:") for attempt_id in ingested.read_ids)
    return Found.NAMED if key.startswith("?") or any(named) else Found.POSSIBLE


def _meets(access: SourceAccess, watch: OpenWatch, ingested: IngestReport) -> bool:
    """Whether a recheck has found the expected attempt, which may have been published before it was expected.

    Under a key that may mean several attempts, one that ended long ago does not count: a retake may be expected.
    """
    earliest = watch.opened_at - access.source.poll.look_back
    return any(
        same_attempt(attempt.attempt_id, watch.key)
        or attempt.completed_at is None
        or attempt.completed_at.timestamp() >= earliest
        for attempt, _ in ingested.publishable
    )


def _cut_short(access: SourceAccess, report: RecheckReport, problem: Exception) -> None:
    report.outcome, report.error = "cut_short", clip(problem, 300)
    report.retry_at = problem.retry_at if isinstance(problem, Retryable) else None
    if report.retry_at is None and isinstance(problem, VendorUnavailable):
        report.retry_at = access.services.now() + _VENDOR_DOWN_SECONDS
    if isinstance(problem, REFUSALS):
        record_refusal(access, problem)
