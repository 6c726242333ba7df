"""Polling rounds over the streams of a source, without Celery. `workers/polling/recheck.py` rechecks single attempts.

A cursor moves only after its page is published. A round starts an overlap before the end of the last one, because rows
may appear late. An interrupted round continues exactly where it stopped, or a small budget would never finish it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from bridge.config.model import Source
from bridge.delivery.retention import DeliveryRetention
from bridge.errors import (
    BridgeError,
    Retryable,
    StateUnavailable,
    Unreadable,
    VendorFault,
    VendorUnavailable,
    clip,
)
from bridge.ingest.pipeline import ingest
from bridge.ingest.read_start import read_start
from bridge.journal import POLL
from bridge.journal.retention import Retention, RetentionReport
from bridge.polling.cursors import RoundReport, StreamPosition
from bridge.quota.budgets import POLL as POLL_CALLS
from bridge.quota.budgets import REREAD
from bridge.sdk.vendor import Page, Poll, streams
from bridge.services import Services
from workers.polling.paging import is_about_cursor, read_pages
from workers.polling.recheck import RecheckReport, recheck_due
from workers.polling.source_access import REFUSALS, SourceAccess, exclusive_access, never, record_refusal
from workers.polling.traced_reading import TracedPages

__all__ = ["PollReport", "first_cursor", "housekeeping", "poll_once"]

#: Maximum number of due watches rechecked between two pages of a long round.
_RECHECKS_BETWEEN_PAGES = 5
#: After this many rounds in a row that failed at one page, the next one starts over: the cursor may be the problem.
_FAULTS_AT_A_PAGE = 6
#: After this many items in a row without an answer the vendor counts as away.
_AWAY = 3
#: A rarely read stream that has started over twice or more waits this long, then twice as long each time, seconds.
_BEGIN_AGAIN_AFTER = 3600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """The result of one poll of a source."""

    #: Name of the source.
    source: str
    #: `done`, `cut_short` (the rounds say why), `fresh` (polled a moment ago), `busy` (another process is reading),
    #: `paused`, `off` (nothing to poll).
    outcome: str
    #: One report per stream that was read.
    rounds: tuple[RoundReport, ...] = ()
    #: UNIX seconds before which polling again is useless; None: unknown.
    retry_at: float | None = None


def poll_once(
    services: Services,
    source_name: str,
    *,
    not_within: float = 0.0,
    stopping: Callable[[], bool] = never,
) -> PollReport:
    """One round over every stream of a source, the one that was polled longest ago first.

    `not_within`: skip streams that were polled less than this many seconds ago. `stopping` is called between pages.
    A refusal by the vendor or the budget is in the report; a lasting one also pauses the source. Raises
    `StateUnavailable`, and, after the other streams were read, whatever a fault in a vendor's folder raised.
    """
    source, now = services.config.sources[source_name], services.now()
    polls = streams(services.vendors[source.vendor], source.options)
    if source.paused or not source.poll.enabled or not polls:
        return PollReport(source=source_name, outcome="off")
    services.source_clock.follow(source_name, now)
    if pause := services.budgets.paused(source_name, now):
        return PollReport(source=source_name, outcome="paused", retry_at=pause.until)
    positions = services.cursors.positions(source_name, polls)
    waiting = [
        stream
        for stream, position in positions.items()
        if not _is_fresh(position, max(not_within, _least_interval(polls[stream], position)), now)
    ]
    if not waiting:
        return PollReport(source=source_name, outcome="fresh")
    with exclusive_access(services, source, spender=POLL_CALLS, stopping=stopping) as access:
        if access is None:
            return PollReport(source=source_name, outcome="busy")
        _forget_removed_items(access)
        # New attempts go before those that may have changed.
        waiting.sort(key=lambda stream: (polls[stream].sweep is not None, positions[stream].started or 0.0))
        return _rounds(access, waiting)


def housekeeping(services: Services) -> RetentionReport:
    """Delete everything older than the configured retention; returns the counts. Raises `StateUnavailable`."""
    config, now = services.config, services.now()
    for name in config.sources:
        services.expectations.forget(name, before=now - config.bridge.retention.events)
        services.sittings.forget(name, before=now - config.bridge.remember_attempts)
        services.consents.forget_given(name, before=now - config.bridge.remember_attempts)
    subscriptions = (*config.subscriptions, *services.orphans())
    retention = Retention(services.state, partitions=config.bridge.partitions)
    report = retention.run(config.bridge, now=services.now(), subscriptions=subscriptions)
    ended = DeliveryRetention(services.deliveries).run(config.bridge.retention, subscriptions, now=services.now())
    report.deliveries, report.dead_letters = ended.deliveries, report.dead_letters + ended.dead_letters
    return report


def first_cursor(
    poll: Poll, position: StreamPosition, source: Source, look_back_limit: float | None, now: float
) -> str:
    """Where a round starts: where the last one was interrupted, an overlap before its end, or the look-back."""
    if position.resume is not None:
        return position.resume
    config = source.poll
    limit = math.inf if look_back_limit is None else look_back_limit
    if poll.sweep is not None:
        return poll.start(now - min(poll.sweep(source.options), limit), None)
    if position.cursor is None:
        return poll.start(now - min(config.look_back, limit), None)
    # A long round (it waited for budget) read its first rows long before its last ones. Rows that appeared late after
    # the first ones are that much farther back.
    took = max(0.0, (position.saved or 0.0) - (position.began or 0.0))
    return poll.rewind(position.cursor, config.overlap + min(took, config.look_back))


def _readable(position: StreamPosition, poll: Poll, source: str, stream: str) -> StreamPosition:
    """The position without cursors that the vendor cannot read: the round starts over, if need be at the look-back."""
    unreadable: dict[str, None] = {}
    for field, cursor in (("resume", position.resume), ("cursor", position.cursor)):
        try:
            if cursor is not None:
                poll.position(cursor)
        except (ValueError, VendorFault) as error:
            unreadable[field] = None
            _log.error("cursor_unreadable", source=source, stream=stream, field=field, problem=clip(error))
    return replace(position, **unreadable)  # type: ignore[arg-type]  # mypy takes each member for every field


def _is_fresh(position: StreamPosition, not_within: float, now: float) -> bool:
    # A start in the future comes from a clock that was corrected since: not fresh. An interrupted round continues soon,
    # a failed one at the next poll.
    is_interrupted = position.resume is not None and not position.faults
    return not is_interrupted and position.started is not None and 0 <= now - position.started < not_within


def _least_interval(poll: Poll, position: StreamPosition) -> float:
    every = poll.every or 0.0
    if position.resume is not None or position.restarts == 1:
        return 0.0
    if position.restarts > 1:
        return min(every, _BEGIN_AGAIN_AFTER * 2.0 ** min(position.restarts - 2, 10))
    # A round that read nothing, such as a daily sweep that met a 503, is repeated at the next poll.
    has_read = position.started is None or (position.saved is not None and position.saved >= position.started)
    return every if has_read else 0.0


def _forget_removed_items(access: SourceAccess) -> None:
    if any(poll.per is not None for poll in access.vendor.polls.values()):
        name, listed = access.source.name, [stream for stream, poll in access.streams.items() if poll.per is not None]
        for stream in access.services.cursors.keep_items(name, listed):
            _log.info("stream_removed", source=name, stream=stream)


def _rounds(access: SourceAccess, waiting: list[str]) -> PollReport:
    rounds: list[RoundReport] = []
    faults: list[Exception] = []
    refusal: BridgeError | None = None
    without_answer = 0
    for stream in waiting:
        try:
            report, refusal = _round(access, stream)
        except StateUnavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - a fault in one stream must not starve the others; raised below
            faults.append(fault)
            continue
        rounds.append(report)
        without_answer = 0 if refusal is None else without_answer + 1
        if refusal is not None and not (_may_be_one_item(access, stream, refusal) and without_answer < _AWAY):
            break
    if faults:
        raise faults[0]
    return PollReport(
        source=access.source.name,
        outcome="cut_short" if any(report.error for report in rounds) else "done",
        rounds=tuple(rounds),
        retry_at=refusal.retry_at if isinstance(refusal, Retryable) else None,
    )


def _may_be_one_item(access: SourceAccess, stream: str, refusal: BridgeError) -> bool:
    """Whether the vendor may fail to answer for only this item, such as one form that is too large for it."""
    is_item = access.streams[stream].per is not None
    return is_item and isinstance(refusal, VendorUnavailable) and refusal.retry_at is None


def _round(access: SourceAccess, stream: str) -> tuple[RoundReport, BridgeError | None]:
    """Read one stream to its end; returns its report, and the refusal that ends reading the whole source, if any."""
    services, name, poll = access.services, access.source.name, access.streams[stream]
    now, made = services.now(), access.calls.made
    position = _readable(services.cursors.position(name, stream), poll, name, stream)
    services.cursors.begin(name, stream, now)
    cursor = first_cursor(poll, position, access.source, access.vendor.look_back_limit, now)
    access.calls.spender = POLL_CALLS if poll.sweep is None else REREAD
    report = RoundReport(stream=stream, from_cursor=cursor, to_cursor=cursor, started=now, error="fault in the bridge")
    refusal: BridgeError | None = None
    try:
        _read(access, poll, position, report)
        report.error = None
    except (*REFUSALS, VendorFault, Unreadable) as problem:
        report.error = clip(problem, 300)
        record_refusal(access, problem)
        if isinstance(problem, VendorFault | Unreadable):
            # Continued at that page, so that a daily sweep neither ends there nor starts over at every poll.
            failed_before = services.cursors.position(name, stream).faults
            begins_again = is_about_cursor(problem) or failed_before + 1 >= _FAULTS_AT_A_PAGE
            services.cursors.fail(name, stream, restart=begins_again)
        else:
            refusal = problem
            if access.calls.made == made:
                # It had no turn: counting one, a small budget could skip the same streams every time.
                services.cursors.restore_start(name, stream, position.started)
    finally:
        report.calls, report.seconds = access.calls.made - made, services.now() - now
        _record_round(access, report)
    return report, refusal


def _read(access: SourceAccess, poll: Poll, position: StreamPosition, report: RoundReport) -> None:
    """Page by page: publish, then move the cursor. `report` has what was read, even after an error."""
    services, name = access.services, access.source.name
    began = report.started if position.resume is None or position.began is None else position.began
    as_of = read_start(access.context)
    pages = TracedPages("poll", access.source)

    def fetch(cursor: str) -> Page:
        return pages.read(report.stream, lambda: poll.fetch(access.client, cursor))

    for page, _ in read_pages(name, poll, fetch, report.from_cursor):
        with pages.publishing():
            ingested = ingest(access.context, page.records, origin=POLL, now=services.now(), as_of=as_of)
        report.records += len(page.records)
        report.outcomes = dict(ingested.outcomes + Counter(report.outcomes))
        report.unread = dict(page.unread)
        report.to_cursor = _cursor_after(poll, position, report.to_cursor, page)
        services.cursors.save(name, report.stream, report.to_cursor, services.now(), began=began, midway=page.more)
        if page.more:
            access.raise_if_stopping()
            if access.vendor.recheck is not None and services.watches.due_count(name, services.now()):
                recheck_due(access, RecheckReport(source=name, outcome="done"), _RECHECKS_BETWEEN_PAGES)
            as_of = read_start(access.context)


def _cursor_after(poll: Poll, position: StreamPosition, cursor: str, page: Page) -> str:
    """The cursor of the stream after `page`, which was read from `cursor`."""
    reached = cursor if page.cursor is None else page.cursor
    if page.more or position.cursor is None or poll.low_water or poll.sweep is not None:
        return reached
    # A round without new rows ends inside its overlap: taking that as the end would move the cursor back every time.
    return max(reached, position.cursor, key=poll.position)


def _record_round(access: SourceAccess, report: RoundReport) -> None:
    # Storing a round refused before its first call would only push real rounds out; pause and budget show the refusal.
    if report.calls or report.records or report.error is None:
        access.services.cursors.record_round(access.source.name, report, streams=len(access.streams))
    _log.info(
        "poll_round",
        source=access.source.name,
        stream=report.stream,
        records=report.records,
        outcomes=report.outcomes,
        calls=report.calls,
        seconds=round(report.seconds, 3),
        error=report.error,
    )
