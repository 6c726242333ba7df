"""Limits the lines that anybody can cause, so that a flood of refused requests does not fill the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from bridge import clock

__all__ = ["LINES", "LogLimits"]

#: Lines of one kind in one period.
LINES = 10
_PERIOD_SECONDS = 60.0


@dataclass(slots=True)
class _Period:
    began_at: float
    lines: int = 0
    suppressed: int = 0


class LogLimits:
    """At most `LINES` lines a minute of each kind: an event and its labels, which are configured names and fixed words.

    The lines beyond that are counted in one line `log_lines_suppressed` when the minute is over.
    """

    def __init__(self, log: FilteringBoundLogger, *, now: Callable[[], float] = clock.monotonic) -> None:
        self._log = log
        self._now = now
        self._periods: dict[tuple[str, tuple[tuple[str, str], ...]], _Period] = {}

    def allows(self, event: str, **labels: str) -> bool:
        """Whether a line of this kind may be written; it is counted."""
        kind = (event, tuple(sorted(labels.items())))
        self.flush()
        period = self._periods.setdefault(kind, _Period(self._now()))
        if period.lines < LINES:
            period.lines += 1
            return True
        period.suppressed += 1
        return False

    def flush(self) -> None:
        """Report what was suppressed in the periods that are over. Call it every few seconds."""
        ended = self._now() - _PERIOD_SECONDS
        for kind in [kind for kind, period in self._periods.items() if period.began_at <= ended]:
            period = self._periods.pop(kind)
            if period.suppressed:
                self._log.warning("log_lines_suppressed", of=kind[0], count=period.suppressed, **dict(kind[1]))
