"""Tries of deliveries for the viewers of one web process: one reader for all of them, while there are some."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bridge import clock
from bridge.delivery.try_feed import TryReader
from bridge.errors import StateUnavailable
from bridge.monitoring import logs
from bridge.web.viewers import CLOSING, Viewer

__all__ = ["LiveTries"]

#: One blocking read; a stop takes at most so long to reach the viewers.
_BLOCK_SECONDS = 2.0
_RETRY_SECONDS = 1.0


class LiveTries:
    """The viewers who get tries. `most`: how many may wait for one. `is_current`: false once this process stops."""

    def __init__(self, reader: TryReader, *, most: int, is_current: Callable[[], bool]) -> None:
        self._reader = reader
        self._most = most
        self._is_current = is_current
        self._viewers: set[Viewer] = set()
        self._runs = False
        self._lock = threading.Lock()

    def join(self, viewer: Viewer) -> None:
        """Add a viewer. Raises `StateUnavailable`."""
        with self._lock:
            if not self._runs:
                self._reader.begin()
                self._runs = True
                threading.Thread(target=self._run, name="live tries", daemon=True).start()
            self._viewers.add(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        with self._lock:
            self._viewers.discard(viewer)

    def _run(self) -> None:
        try:
            while self._goes_on():
                self._step()
        except Exception as error:  # noqa: BLE001 - viewers must end; they reconnect
            logs.log_unhandled(error, "live tries")
            with self._lock:
                self._end_all()

    def _goes_on(self) -> bool:
        with self._lock:
            if self._viewers and self._is_current():
                return True
            self._end_all()
            return False

    def _end_all(self) -> None:
        self._runs = False
        for viewer in self._viewers:
            viewer.end(CLOSING)
        self._viewers.clear()

    def _step(self) -> None:
        try:
            ended = self._reader.read(_BLOCK_SECONDS)
        except StateUnavailable:
            # The gate logs it; what happens meanwhile is not shown.
            time.sleep(_RETRY_SECONDS)
            return
        now = clock.monotonic()
        with self._lock:
            for one in ended:
                for viewer in self._viewers:
                    if viewer.wants_try(one):
                        viewer.give(one, self._most, now)
