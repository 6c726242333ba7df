"""Tries of deliveries for the viewers of one web process: one reader for all of them, while there are any."""

from __future__ import annotations

import time
from collections.abc import Callable

from bridge import clock
from bridge.delivery.try_feed import TryReader
from bridge.errors import StateUnavailable
from bridge.web.live_thread import LiveThread
from bridge.web.viewers import Viewer

__all__ = ["LiveTries"]

#: One blocking read; a stop takes at most this long to reach the viewers.
_BLOCK_SECONDS = 2.0
_RETRY_SECONDS = 1.0


class LiveTries(LiveThread):
    """The viewers who get tries. `most`: how many may wait for one. `is_current`: false once this process stops."""

    def __init__(self, reader: TryReader, *, most: int, is_current: Callable[[], bool]) -> None:
        super().__init__("live tries", is_current)
        self._reader = reader
        self._most = most

    def join(self, viewer: Viewer) -> None:
        """Add a viewer. Raises `StateUnavailable`."""
        with self._lock:
            self._add(viewer)

    def _begin(self) -> None:
        self._reader.begin()

    def _step(self) -> None:
        try:
            ended = self._reader.read(_BLOCK_SECONDS)
        except StateUnavailable:
            # The gate logs it; what happens meanwhile is not shown.
            time.sleep(_RETRY_SECONDS)
            return
        now = clock.monotonic()
        with self._lock:
            for tried in ended:
                for viewer in self._viewers:
                    if viewer.wants_try(tried):
                        viewer.give(tried, self._most, now)
