"""The viewers of live streams, and what waits for each of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from bridge.delivery.try_feed import EndedTry
from bridge.journal.entries import StoredEvent
from bridge.journal.event_fields import EventItem

__all__ = ["CLOSING", "SLOW", "LiveEvent", "Viewer"]

#: Why a stream ends.
CLOSING, SLOW = "closing", "slow"
#: Seconds that a dropped viewer has to take the reason before it is cut off.
GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One event, parsed and rendered once for all viewers who may see the same parts of it."""

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
    #: Whether it is sent a try of a delivery.
    wants_try: Callable[[EndedTry], bool] = lambda ended: False
    #: Why it ends, `SLOW` or `CLOSING`; empty while it is open.
    ended: str = ""
    _slow_since: float | None = None
    _waiting: deque[LiveEvent | EndedTry] = field(default_factory=deque)
    _wake: threading.Event = field(default_factory=threading.Event)

    def take(self, seconds: float) -> list[LiveEvent | EndedTry]:
        """What waits for it; empty if nothing came within `seconds`, or it has ended."""
        self._wake.wait(seconds)
        self._wake.clear()
        taken: list[LiveEvent | EndedTry] = []
        with suppress(IndexError):
            while True:
                taken.append(self._waiting.popleft())
        return taken

    def give(self, event: LiveEvent | EndedTry, most: int, now: float) -> None:
        """Queue the event for it; drop a viewer for whom `most` are queued already."""
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
