"""Looks at watched attempts: those that were open, ungraded or announced when they were last seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from bridge.errors import StateUnavailable, Unreadable, VendorFault, clip
from bridge.journal import POLL
from bridge.pipeline import ingest
from bridge.services import Services
from bridge.watches import OpenWatch
from workers.turn import REFUSALS, Turn, heed, never, take_turn

__all__ = ["LOOKS", "RecheckReport", "recheck"]

#: Looks in one go, so that a crowd of watches does not keep the fresh poll waiting.
LOOKS = 20

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class RecheckReport:
    """`outcome`: `done`, `cut_short` (`error` says why), `idle` (no watch is due), `busy`, `paused`, `off`.

    `outcomes` counts what became of the records found, `given_up` names the attempts past their deadline.
    """

    source: str
    outcome: str
    looks: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    given_up: list[str] = field(default_factory=list)
    calls: int = 0
    error: str | None = None


def recheck(
    services: Services, source_name: str, *, limit: int = LOOKS, stopping: Callable[[], bool] = never
) -> RecheckReport:
    """Look at up to `limit` due watches, the most overdue first; half of the budget stays for fresh polls.

    A watch closes when its attempt is settled and is given up after its deadline. Raises `StateUnavailable`, and
    whatever a fault in a vendor's folder raises, after the other watches had their look.
    """
    source, now = services.config.sources[source_name], services.now()
    vendor = services.vendors[source.vendor]
    if source.paused or vendor.recheck is None:
        return RecheckReport(source=source_name, outcome="off")
    due = services.watches.due(source_name, now, limit)
    if not due:
        return RecheckReport(source=source_name, outcome="idle")
    if services.budgets.paused(source_name, now):
        return RecheckReport(source=source_name, outcome="paused")
    reserve = source.budget_calls // 2 if vendor.polls and source.poll.enabled else 0
    with take_turn(services, source, spender="watch", reserve=reserve, stopping=stopping) as turn:
        if turn is None:
            return RecheckReport(source=source_name, outcome="busy")
        report = RecheckReport(source=source_name, outcome="done")
        try:
            _looks(turn, due, report)
        except REFUSALS as problem:
            report.outcome, report.error = "cut_short", clip(problem, 300)
            heed(turn, problem)
        finally:
            report.calls = turn.calls.made
            _log.info("rechecked", source=source_name, looks=report.looks, outcomes=dict(report.outcomes))
        return report


def _looks(turn: Turn, due: Sequence[OpenWatch], report: RecheckReport) -> None:
    faults: list[Exception] = []
    for watch in due:
        turn.go_on()
        try:
            _look(turn, watch, report)
        except (*REFUSALS, StateUnavailable):
            raise
        except (VendorFault, Unreadable) as fault:
            heed(turn, fault)
            report.error = clip(fault, 300)
        except Exception as fault:  # noqa: BLE001 - the most overdue watch must not block the others; raised below
            faults.append(fault)
        report.looks += 1
        services, name = turn.services, turn.source.name
        if services.watches.looked(name, watch, turn.vendor.recheck_schedule, services.now()) == "given_up":
            report.given_up.append(watch.attempt_id)
            _log.warning("watch_given_up", source=name, attempt=watch.attempt_id, looks=watch.looks + 1)
    if faults:
        raise faults[0]


def _look(turn: Turn, watch: OpenWatch, report: RecheckReport) -> None:
    if turn.vendor.recheck is None:
        raise AssertionError("only sources with a re-check come here")
    records = turn.vendor.recheck(turn.client, watch.reference)
    # Publishing closes the watch of what is settled, and keeps the watch of what is not.
    report.outcomes += ingest(turn.way, records, origin=POLL, now=turn.services.now()).outcomes
