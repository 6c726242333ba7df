"""Reports threads of this worker that hang while reading from a source: in the log, the state and an alarm."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from bridge.errors import StateUnavailable
from bridge.polling.turns import StuckReadings
from bridge.services import Services
from workers.polling.watchdog import check_sources

__all__ = ["StuckWatch"]

_log = structlog.get_logger(__name__)


class StuckWatch:
    """Called every few seconds from the worker's main loop, which no hanging thread can hold up."""

    def __init__(self, services: Services, *, check: Callable[[Services], object] = check_sources) -> None:
        self._services = services
        self._check = check
        self._known: frozenset[str] = frozenset()

    def __call__(self) -> None:
        """Report what is stuck; the first time also raise the alarm, because all threads may hang."""
        stuck = self._services.turns.stuck(self._services.now())
        new = [turn for turn in stuck if turn.source not in self._known]
        self._known = frozenset(turn.source for turn in stuck)
        for turn in new:
            _log.error(
                "reading_stuck",
                source=turn.source,
                seconds=round(self._services.now() - turn.since),
                where=turn.where,
                remedy="restart the worker, and report this line",
            )
        try:
            for turn in stuck:
                StuckReadings(self._services.state).report(turn)
        except StateUnavailable as error:
            _log.warning("report_failed", problem=str(error))
        if new:
            # In its own thread: the main loop must go on.
            threading.Thread(target=self._raise_alarm, daemon=True, name="stuck").start()

    def _raise_alarm(self) -> None:
        try:
            self._check(self._services)
        except StateUnavailable as error:
            # The next check by any worker raises it.
            _log.warning("report_failed", problem=str(error))
