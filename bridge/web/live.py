"""The live stream of one web process: one reader of the journal for all viewers, who wait without cost.

The reader runs while there are viewers. It evaluates each filter once for all viewers that share it, and wakes only
those whose filter an event passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping

from bridge import clock
from bridge.delivery.try_feed import TryReader
from bridge.errors import StateUnavailable
from bridge.journal.reading import Reader
from bridge.monitoring import logs
from bridge.web.live_thread import LiveThread
from bridge.web.live_tries import LiveTries
from bridge.web.viewers import LiveEvent, Viewer

__all__ = ["Live"]

#: Most viewers of one process.
MAX_VIEWERS = 500
#: Events that may wait for one viewer.
MAX_WAITING = 1000
HEARTBEAT_SECONDS = 15.0
#: One blocking read; a stop takes at most this long to reach the viewers.
_BLOCK_SECONDS = 2.0
#: Between two reads: under load viewers wake for many events at once.
_PAUSE_SECONDS = 0.1
_RETRY_SECONDS = 1.0


class Live(LiveThread):
    """All viewers of one process. Make it after forking.

    `heartbeat`: seconds of silence after which a stream gets a comment. `is_current`: false once this process stops.
    """

    def __init__(
        self,
        reader: Reader,
        tail: Reader,
        *,
        heartbeat: float = HEARTBEAT_SECONDS,
        is_current: Callable[[], bool] = lambda: True,
        max_viewers: int = MAX_VIEWERS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        super().__init__("live", is_current)
        self.reader = reader
        self.heartbeat = heartbeat
        self._tail = tail
        self._max_viewers = max_viewers
        self._max_waiting = max_waiting
        self._position: dict[int, str] = {}
        self._log = logs.get_logger(__name__)
        self.tries = LiveTries(TryReader(tail.client), most=max_waiting, is_current=is_current)

    @property
    def viewers(self) -> int:
        """The number of viewers."""
        return len(self._viewers)

    def join(self, viewer: Viewer) -> Mapping[int, str] | None:
        """Add a viewer; it gets every event after the returned position (partition -> stream id).

        None if there are too many viewers. Raises `StateUnavailable`.
        """
        with self._lock:
            if len(self._viewers) >= self._max_viewers:
                return None
            self._add(viewer)
            return dict(self._position)

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        self.tries.leave(viewer)
        super().leave(viewer)

    def _begin(self) -> None:
        _, self._position = self.reader.ends()

    def _step(self) -> None:
        try:
            events = self._tail.read_after(self._position, block_seconds=_BLOCK_SECONDS)
        except StateUnavailable:
            # The gate logs it; the position does not change.
            time.sleep(_RETRY_SECONDS)
            return
        now = clock.monotonic()
        with self._lock:
            for event in map(LiveEvent.of, events):
                self._position[event.stored.partition] = event.stored.entry_id
                verdicts: dict[Hashable, bool] = {}
                for viewer in self._viewers:
                    if viewer.kind not in verdicts:
                        verdicts[viewer.kind] = viewer.matches(event)
                    if verdicts[viewer.kind]:
                        viewer.give(event, self._max_waiting, now)
            stuck = [viewer for viewer in self._viewers if viewer.is_stuck(now)]
        for viewer in stuck:
            self._log.warning("live_viewer_cut_off")
            viewer.abort()
            self.leave(viewer)
        if events:
            time.sleep(_PAUSE_SECONDS)
