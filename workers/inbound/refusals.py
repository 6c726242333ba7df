"""Counts refused messages and limits their log lines: anyone with access to the broker can cause one."""

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

#: Shortest time between two log lines, and between two writes to the state server.
_INTERVAL_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class RefusalCounter:
    """The refused messages of one queue in one process, by reason. Thread-safe."""

    def __init__(self, services: Services, queue: str) -> None:
        self._services = services
        self._queue = queue
        self._lock = threading.Lock()
        self._new: Counter[str] = Counter()
        self._last = -_INTERVAL_SECONDS

    def count(self, reason: str) -> None:
        """Count one message. `reason`: a fixed word. Does no I/O."""
        with self._lock:
            self._new[reason] += 1

    def flush(self, *, force: bool = False) -> None:
        """Add new refusals to the metric and log them, at most every 5 s. `force`: now, for the end of the process."""
        with self._lock:
            moment = clock.monotonic()
            if not self._new or (moment - self._last < _INTERVAL_SECONDS and not force):
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
