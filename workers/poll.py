"""Rounds over the streams of a source. Looks at single attempts are in `workers/recheck.py`; no Celery in here.

A cursor moves only after its page is published. A round starts an overlap before the end of the last one, because rows
may show up late; a round that was cut short goes on exactly where it stood, or a small budget would never get through.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from bridge.config import PollConfig
from bridge.cursors import Place, RoundReport
from bridge.errors import BridgeError, Retryable, StateUnavailable, Unreadable, VendorFault, clip
from bridge.journal import POLL
from bridge.journal.retention import Retention, RetentionReport
from bridge.pipeline import ingest
from bridge.services import Services
from bridge.vendor import Page, Poll
from workers.turn import REFUSALS, Turn, heed, never, take_turn

__all__ = ["PollReport", "first_cursor", "housekeeping", "poll_once"]

#: Calls of each window that fresh polls leave for due watches.
_KEPT_FOR_WATCHES = 3

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """`outcome`: `done`, `cut_short` (the rounds say why), `fresh` (polled a moment ago), `busy` (somebody else polls),
    `paused`, `off` (nothing to poll). `retry_at`: UNIX seconds before which polling again is useless, if known."""

    source: str
    outcome: str
    rounds: tuple[RoundReport, ...] = ()
    retry_at: float | None = None


def poll_once(
    services: Services,
    source_name: str,
    *,
    origin: str = POLL,
    not_within: float = 0.0,
    stopping: Callable[[], bool] = never,
) -> PollReport:
    """One round over every stream of a source, the longest waiting first.

    `not_within`: leave out streams that were polled less than so many seconds ago. `stopping` is asked between pages.
    What the vendor or the budget refuses is in the report and, where it lasts, kept as the source's pause.
    Raises `StateUnavailable`, and whatever a fault in a vendor's folder raises, after the other streams had their turn.
    """
    source, now = services.config.sources[source_name], services.now()
    vendor = services.vendors[source.vendor]
    if source.paused or not source.poll.enabled or not vendor.polls:
        return PollReport(source=source_name, outcome="off")
    if pause := services.budgets.paused(source_name, now):
        return PollReport(source=source_name, outcome="paused", retry_at=pause.until)
    places = {stream: services.cursors.place(source_name, stream) for stream in vendor.polls}
    waiting = [stream for stream, place in places.items() if not _is_fresh(place, not_within, now)]
    if not waiting:
        return PollReport(source=source_name, outcome="fresh")
    reserve = 0
    if vendor.recheck is not None and services.watches.due_count(source_name, now):
        reserve = min(_KEPT_FOR_WATCHES, source.budget_calls // 4)
    with take_turn(services, source, spender=origin, reserve=reserve, stopping=stopping) as turn:
        if turn is None:
            return PollReport(source=source_name, outcome="busy")
        return _rounds(turn, sorted(waiting, key=lambda stream: places[stream].started or 0.0), origin)


def housekeeping(services: Services) -> RetentionReport:
    """Forget what is older than the configured retention. Raises `StateUnavailable`."""
    config = services.config
    retention = Retention(services.state, partitions=config.bridge.partitions)
    return retention.run(config.bridge, now=services.now(), subscriptions=tuple(config.subscriptions))


def first_cursor(poll: Poll, place: Place, config: PollConfig, look_back_limit: float | None, now: float) -> str:
    """Where a round starts reading: where it was cut short, or an overlap before the last end, or at the look-back."""
    if place.resume is not None:
        return place.resume
    if place.cursor is None:
        limit = math.inf if look_back_limit is None else look_back_limit
        return poll.start(now - min(config.look_back, limit), None)
    # A round that took long (it waited for budget in between) read its first rows long before its last ones: what
    # showed up late behind those first rows lies as much farther back.
    took = max(0.0, (place.saved or 0.0) - (place.began or 0.0))
    return poll.rewind(place.cursor, config.overlap + min(took, config.look_back))


def _is_fresh(place: Place, not_within: float, now: float) -> bool:
    # A start in the future is a clock that was put right since: not fresh.
    return place.started is not None and 0 <= now - place.started < not_within


def _rounds(turn: Turn, streams: list[str], origin: str) -> PollReport:
    rounds: list[RoundReport] = []
    faults: list[Exception] = []
    refusal: BridgeError | None = None
    for stream in streams:
        try:
            report, refusal = _round(turn, stream, origin)
        except StateUnavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - a fault in one stream must not starve the others; raised below
            faults.append(fault)
            continue
        rounds.append(report)
        if refusal is not None:
            break
    if faults:
        raise faults[0]
    return PollReport(
        source=turn.source.name,
        outcome="cut_short" if any(report.error for report in rounds) else "done",
        rounds=tuple(rounds),
        retry_at=refusal.retry_at if isinstance(refusal, Retryable) else None,
    )


def _round(turn: Turn, stream: str, origin: str) -> tuple[RoundReport, BridgeError | None]:
    """Read one stream to its end. Beside the report: what ends the turn with the whole source, if anything."""
    services, name, poll = turn.services, turn.source.name, turn.vendor.polls[stream]
    now, made, place = services.now(), turn.calls.made, services.cursors.place(name, stream)
    services.cursors.begin(name, stream, now)
    cursor = first_cursor(poll, place, turn.source.poll, turn.vendor.look_back_limit, now)
    report = RoundReport(stream=stream, from_cursor=cursor, to_cursor=cursor, started=now, error="fault in the bridge")
    refusal: BridgeError | None = None
    try:
        _read(turn, poll, place, report, origin)
        report.error = None
    except (*REFUSALS, VendorFault, Unreadable) as problem:
        report.error = clip(problem, 300)
        heed(turn, problem)
        if isinstance(problem, VendorFault | Unreadable):
            # The cursor itself may be the fault, a token that has run out: the next round starts in front of it.
            services.cursors.restart(name, stream)
        else:
            refusal = problem
    finally:
        report.calls, report.seconds = turn.calls.made - made, services.now() - now
        _note(turn, report)
    return report, refusal


def _read(turn: Turn, poll: Poll, place: Place, report: RoundReport, origin: str) -> None:
    """Page by page: publish, then move the cursor. What was read stands in `report`, also after an error."""
    services, name = turn.services, turn.source.name
    began = report.started if place.resume is None or place.began is None else place.began
    for page in _pages(turn, poll, report.from_cursor):
        found = ingest(turn.way, page.records, origin=origin, now=services.now())
        report.records += len(page.records)
        report.outcomes = dict(found.outcomes + Counter(report.outcomes))
        report.to_cursor = _reached(poll, place, report.to_cursor, page)
        services.cursors.save(name, report.stream, report.to_cursor, services.now(), began=began, midway=page.more)
        if page.more:
            turn.go_on()


def _pages(turn: Turn, poll: Poll, cursor: str) -> Iterator[Page]:
    """All pages from `cursor` on. Raises `VendorFault` where the vendor leads us in a circle."""
    seen = {cursor}
    while True:
        page = poll.fetch(turn.client, cursor)
        yield page
        if not page.more:
            return
        if page.cursor is None or page.cursor in seen:
            raise VendorFault(
                f"source {turn.source.name}: the vendor says there are more pages but leads back to a cursor of this "
                f"round ({clip(page.cursor, 60)}); reading stops here, the next round tries again",
                reason="page_loop",
            )
        cursor = page.cursor
        seen.add(cursor)


def _reached(poll: Poll, place: Place, cursor: str, page: Page) -> str:
    """Where the stream stands after `page`, which was read from `cursor`."""
    reached = cursor if page.cursor is None else page.cursor
    if page.more or place.cursor is None:
        return reached
    # A round that found nothing new ends inside its overlap; taking that for the end would creep back for ever.
    return max(reached, place.cursor, key=poll.position)


def _note(turn: Turn, report: RoundReport) -> None:
    # Refused before the first call: that is what the pause and the budget say; it would only push real rounds out.
    if report.calls or report.records or report.error is None:
        turn.services.cursors.record_round(turn.source.name, report)
    _log.info(
        "poll_round",
        source=turn.source.name,
        stream=report.stream,
        records=report.records,
        outcomes=report.outcomes,
        calls=report.calls,
        seconds=round(report.seconds, 3),
        error=report.error,
    )
