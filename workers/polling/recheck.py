"""Looks at watched attempts: open or ungraded ones, those that webhooks point to, those that operators expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from bridge.errors import (
    BridgeError,
    BudgetExhausted,
    Retryable,
    StateUnavailable,
    Unreadable,
    VendorFault,
    VendorUnavailable,
    clip,
)
from bridge.ingest.context import IngestReport
from bridge.ingest.intake import unreadable_on_error
from bridge.ingest.pipeline import ingest
from bridge.journal import POLL
from bridge.polling import watches
from bridge.polling.watches import OpenWatch
from bridge.quota.budgets import OVERDUE, POINTER, REREAD
from bridge.sdk.vendor import Pointer, Record
from bridge.services import Services
from workers.polling.overdue import handle_given_up
from workers.polling.source_access import REFUSALS, SourceAccess, exclusive_access, never, record_refusal

__all__ = ["MAX_RECHECKS", "RecheckReport", "recheck", "recheck_due"]

#: Looks in one go, so that a crowd of watches does not keep the fresh poll waiting.
MAX_RECHECKS = 20
#: A look that gets no answer is repeated after so many seconds; after so many in a row the vendor itself is away, and
#: is left alone for a while.
_NO_ANSWER_SECONDS, _NO_ANSWERS, _AWAY_SECONDS = 60.0, 3, 30.0
#: Kind of watch -> for whom its look spends a call; open attempts and expectations come first.
_SPENDERS = {watches.POINTER: POINTER, watches.UNGRADED: REREAD, watches.REREAD: REREAD}

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class RecheckReport:
    """`outcome`: `done`, `cut_short` (`error` says why), `idle` (no watch is due), `busy`, `paused`, `off`.

    `outcomes` counts what became of the records found, `given_up` names the watches past their deadline. `retry_at`:
    UNIX seconds before which looking again is useless, if known.
    """

    source: str
    outcome: str
    rechecks: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    given_up: list[str] = field(default_factory=list)
    calls: int = 0
    error: str | None = None
    retry_at: float | None = None


def recheck(
    services: Services, source_name: str, *, limit: int = MAX_RECHECKS, stopping: Callable[[], bool] = never
) -> RecheckReport:
    """Look at up to `limit` due watches, the most overdue first; the budget keeps a share for every kind of call.

    A watch closes when its attempt is settled and is given up after its deadline. A fault in a vendor's folder is
    logged, and counts as a look at that watch alone. Raises `StateUnavailable`.
    """
    source, now = services.config.sources[source_name], services.now()
    vendor = services.vendors[source.vendor]
    if source.paused or vendor.recheck is None:
        return RecheckReport(source=source_name, outcome="off")
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
    """The looks of one turn; also taken between the pages of a long round. Raises what ends the turn."""
    spent: set[str] = set()
    before, silent = access.calls.spender, 0
    # Asked for here, under the lease: another process may have looked a moment ago.
    for watch in access.services.watches.due(access.source.name, access.services.now(), limit):
        spender = _SPENDERS.get(watch.kind, OVERDUE)
        if spender in spent:
            continue
        access.raise_if_stopping()
        access.calls.spender = spender
        try:
            problem = _try(access, watch, report)
        finally:
            access.calls.spender = before
        if isinstance(problem, BudgetExhausted):
            # Others may have a share left.
            spent.add(spender)
            _cut_short(access, report, problem)
        elif isinstance(problem, VendorUnavailable):
            silent += 1
            if silent == _NO_ANSWERS:
                raise problem
        else:
            silent = 0
            _count(access, watch, report)


def _try(access: SourceAccess, watch: OpenWatch, report: RecheckReport) -> BridgeError | None:
    """One look; what kept it from being one, if that is this watch's or its spender's own affair."""
    try:
        with unreadable_on_error(access.source.name, "look"):
            _look(access, watch, report)
    except BudgetExhausted as problem:
        return problem
    except VendorUnavailable as problem:
        if problem.retry_at is not None:
            raise
        # One attempt that the vendor stumbles over must not keep all others waiting.
        access.services.watches.postpone(access.source.name, watch, access.services.now() + _NO_ANSWER_SECONDS)
        report.error = clip(problem, 300)
        return problem
    except (*REFUSALS, StateUnavailable):
        raise
    except (VendorFault, Unreadable) as fault:
        record_refusal(access, fault)
        report.error = clip(fault, 300)
    return None


def _count(access: SourceAccess, watch: OpenWatch, report: RecheckReport) -> None:
    services, name = access.services, access.source.name
    report.rechecks += 1
    schedule = access.vendor.pointer_schedule if watch.kind == watches.POINTER else access.vendor.recheck_schedule
    if services.watches.record_recheck(name, watch, schedule, services.now()) == "given_up":
        report.given_up.append(watch.key)
        handle_given_up(services, access.source, watch)


def _look(access: SourceAccess, watch: OpenWatch, report: RecheckReport) -> None:
    if access.vendor.recheck is None:
        raise AssertionError("only sources with a re-check come here")
    services, name = access.services, access.source.name
    answer = access.vendor.recheck(access.client, watch.reference)
    records = [item for item in answer if isinstance(item, Record)]
    # Publishing closes the watch of what is settled, and keeps the watch of what is not.
    found = ingest(access.context, records, origin=POLL, now=services.now())
    report.outcomes += found.outcomes
    pointers = [item for item in answer if isinstance(item, Pointer)]
    if pointers:
        _expand(access, watch, pointers)
    if watch.kind == watches.EXPECTATION and _meets(access, watch, found):
        services.expectations.mark_met(name, (watch.key,), now=services.now())
    elif watch.kind == watches.POINTER and _leads_there(watch.key, found):
        services.watches.close_many(name, (watch.key,), now=services.now(), kind=watches.POINTER)


def _leads_there(key: str, found: IngestReport) -> bool:
    """Whether a look has found what a webhook pointed to.

    Under the id of an attempt that is this attempt, a later sitting of it, or news: an older attempt of the same person
    may be listed before the announced one. What cannot be read now may be readable at a later look.
    """
    if key.startswith("?"):
        return bool(found.read_ids)
    return bool(found.published_ids) or any(one == key or one.startswith(f"{key}:") for one in found.read_ids)


def _meets(access: SourceAccess, watch: OpenWatch, found: IngestReport) -> bool:
    """Whether what a look found is what was expected, though it may have been published before somebody expected it.

    Under a key that may mean several attempts, one that ended long ago does not count: a retake may be expected.
    """
    earliest = watch.opened_at - access.source.poll.look_back
    return any(
        news.attempt_id == watch.key or news.completed_at is None or news.completed_at.timestamp() >= earliest
        for news, _ in found.publishable
    )


def _expand(access: SourceAccess, watch: OpenWatch, pointers: Sequence[Pointer]) -> None:
    """Look at what was named: for an expectation, expect each of it with the same label, due time and deadline."""
    services, name, now = access.services, access.source.name, access.services.now()
    parent = services.expectations.get(name, watch.key)
    if parent is None:
        services.watches.add_pointers(name, pointers, now=now)
        return
    reader = services.journal_reader
    known = services.expectations.matching(name, [one.key for one in pointers], now=now)
    fresh = [one for one in pointers if one.key not in known and reader.attempt(name, one.key) is None]
    services.expectations.expect(name, fresh, label=parent.label, due=parent.due, deadline=parent.deadline, now=now)
    # It has done its part; it is looked at again for whoever is added later, and ends in silence.
    services.expectations.set_state(name, parent, "expanded")


def _cut_short(access: SourceAccess, report: RecheckReport, problem: Exception) -> None:
    report.outcome, report.error = "cut_short", clip(problem, 300)
    report.retry_at = problem.retry_at if isinstance(problem, Retryable) else None
    if report.retry_at is None and isinstance(problem, VendorUnavailable):
        report.retry_at = access.services.now() + _AWAY_SECONDS
    if isinstance(problem, REFUSALS):
        record_refusal(access, problem)
