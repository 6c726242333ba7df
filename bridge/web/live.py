"""The live stream of one web process: one reader of the journal for all viewers, who wait without cost.

The reader runs while there are viewers. It evaluates each filter once for all viewers that share it, and wakes only
those whose filter an event passes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from bridge import clock
from bridge.errors import StateUnavailable
from bridge.journal.entries import StoredEvent
from bridge.journal.event_fields import EventItem
from bridge.journal.reading import Reader
from bridge.monitoring import logs

__all__ = ["CLOSING", "SLOW", "Live", "LiveEvent", "Viewer"]

#: Why a stream ends.
CLOSING, SLOW = "closing", "slow"
#: Most viewers of one process.
MAX_VIEWERS = 500
#: Events that may wait for one viewer, and seconds that it then has to take the reason before it is cut off.
MAX_WAITING, GRACE_SECONDS = 1000, 10.0
HEARTBEAT_SECONDS = 15.0
#: One blocking read; a stop takes at most so long to reach the viewers.
_BLOCK_SECONDS = 2.0
#: Between two reads: under load viewers wake for many events at once.
_PAUSE_SECONDS = 0.1
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One event, parsed and rendered once for all viewers who may see the same of it."""

    stored: StoredEvent
    #: Whether persons may be seen -> the event, and its bytes once they are made.
    items: Mapping[bool, EventItem]
    rendered: dict[bool, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: StoredEvent) -> LiveEvent:
        return cls(stored, {persons: EventItem(stored, persons=persons) for persons in (False, True)})


@dataclass(eq=False)
class Viewer:
    """One open stream. `kind`: equal for viewers whose `matches` agrees. `abort` closes its connection."""

    kind: Hashable
    matches: Callable[[LiveEvent], bool]
    abort: Callable[[], object] = lambda: None
    #: Why it ends, `SLOW` or `CLOSING`; empty while it is open.
    ended: str = ""
    _slow_since: float | None = None
    _waiting: deque[LiveEvent] = field(default_factory=deque)
    _wake: threading.Event = field(default_factory=threading.Event)

    def take(self, seconds: float) -> list[LiveEvent]:
        """What waits for it; empty if nothing came within `seconds`, or it has ended."""
        self._wake.wait(seconds)
        self._wake.clear()
        taken = []
        with suppress(IndexError):
            while True:
                taken.append(self._waiting.popleft())
        return taken

    def give(self, event: LiveEvent, most: int, now: float) -> None:
        """Let the event wait for it; drop a viewer for whom `most` wait already."""
        if self.ended:
            return
        if len(self._waiting) >= most:
            self._waiting.clear()
            self._slow_since = now
            self.end(SLOW)
            return
        self._waiting.append(event)
        self._wake.set()

    def end(self, reason: str) -> None:
        """End its stream."""
        self.ended = self.ended or reason
        self._wake.set()

    def is_stuck(self, now: float) -> bool:
        """Whether it was dropped, and has not even taken the reason."""
        return self._slow_since is not None and now - self._slow_since >= GRACE_SECONDS


class Live:
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
        self.reader = reader
        self.heartbeat = heartbeat
        self._tail = tail
        self._is_current = is_current
        self._max_viewers = max_viewers
        self._max_waiting = max_waiting
        self._viewers: set[Viewer] = set()
        self._position: dict[int, str] = {}
        self._runs = False
        self._lock = threading.Lock()
        self._log = logs.get_logger(__name__)

    @property
    def viewers(self) -> int:
        """The number of viewers."""
        return len(self._viewers)

    def join(self, viewer: Viewer) -> Mapping[int, str] | None:
        """Add a viewer; it gets every event behind the returned position (partition -> stream id).

        None if there are too many viewers. Raises `StateUnavailable`.
        """
        with self._lock:
            if len(self._viewers) >= self._max_viewers:
                return None
            if not self._runs:
                _, self._position = self.reader.ends()
                self._runs = True
                threading.Thread(target=self._run, name="live", daemon=True).start()
            self._viewers.add(viewer)
            return dict(self._position)

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        with self._lock:
            self._viewers.discard(viewer)

    def _run(self) -> None:
        try:
            while self._goes_on():
                self._step()
        except Exception as error:  # noqa: BLE001 - viewers must end; they reconnect and continue where they were
            logs.log_unhandled(error, "live")
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
            events = self._tail.read_after(self._position, block_seconds=_BLOCK_SECONDS)
        except StateUnavailable:
            # The gate logs it; the position stays.
            time.sleep(_RETRY_SECONDS)
            return
        now = clock.monotonic()
        with self._lock:
            for event in map(LiveEvent.of, events):
                self._position[event.stored.partition] = event.stored.entry_id
                found: dict[Hashable, bool] = {}
                for viewer in self._viewers:
                    if viewer.kind not in found:
                        found[viewer.kind] = viewer.matches(event)
                    if found[viewer.kind]:
                        viewer.give(event, self._max_waiting, now)
            stuck = [viewer for viewer in self._viewers if viewer.is_stuck(now)]
        for viewer in stuck:
            self._log.warning("live_viewer_cut_off")
            viewer.abort()
            self.leave(viewer)
        time.sleep(_PAUSE_SECONDS if events else 0)
