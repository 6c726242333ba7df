"""Counts refused messages, and says so seldom: anybody who can write to the broker can cause one."""

from __future__ import annotations

import threading
from collections import Counter

import structlog

from bridge import clock
from bridge.errors import StateUnavailable
from bridge.services import Services
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["RefusalCounter"]

#: Between two log lines, and two writes to the state server, seconds.
_EVERY_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class RefusalCounter:
    """The refused messages of one queue in one process, by reason. For any number of threads."""

    def __init__(self, services: Services, queue: str) -> None:
        self._services = services
        self._queue = queue
        self._lock = threading.Lock()
        self._new: Counter[str] = Counter()
        self._last = -_EVERY_SECONDS

    def count(self, reason: str) -> None:
        """One more. `reason`: a fixed word. Touches no server."""
        with self._lock:
            self._new[reason] += 1

    def flush(self, *, force: bool = False) -> None:
        """Add what is new to the metric and log it, at most every 5 s; call it from time to time, and at the end."""
        with self._lock:
            moment = clock.monotonic()
            if not self._new or (moment - self._last < _EVERY_SECONDS and not force):
                return
            self._last = moment
            new, self._new = self._new, Counter()
        _log.warning("messages_refused", queue=self._queue, reasons=dict(new), count=new.total())
        try:
            with state_errors():
                pipe = self._services.state.pipeline(transaction=False)
                for reason, count in new.items():
                    pipe.hincrby(keys.refused(), f"{self._queue}|{reason}", count)
                pipe.execute()
        except StateUnavailable as error:
            _log.warning("refused_messages_not_counted", queue=self._queue, count=new.total(), error=str(error))
