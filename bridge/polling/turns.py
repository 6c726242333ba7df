"""Which threads of this process read from which source, and which of them have stopped making progress.

Every call to a vendor has a deadline, so none should hang. This finds one that hangs nevertheless.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import cast

import redis

from bridge import clock
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.expiry import exists_for
from bridge.state.stored_json import record_or_none

__all__ = ["STUCK_SECONDS", "StuckReading", "StuckReadings", "Turns"]

#: A call takes 20 s at most, and publishing a page some seconds more.
STUCK_SECONDS = 120.0
#: A stored report that is not renewed expires after this many seconds.
_REPORT_SECONDS = 90
#: Innermost frames that a report names.
_FRAMES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckReading:
    """A thread that reads from a source and has made no progress for `STUCK_SECONDS`."""

    #: Name of the source.
    source: str
    #: When it last made progress, UNIX seconds.
    since: float
    #: Its innermost frames as `file:line function`, the innermost first; no values.
    where: str


class Turns:
    """The turns of this process: from taking a source's lease to releasing it, one per thread."""

    def __init__(self, monotonic: Callable[[], float] = clock.monotonic) -> None:
        self._monotonic = monotonic
        #: Thread -> source and the moment of the last progress.
        self._turns: dict[int, tuple[str, float]] = {}

    def progress(self, source: str) -> None:
        """Note that this thread begins a turn with the source, or makes progress in it."""
        self._turns[threading.get_ident()] = (source, self._monotonic())

    def end(self) -> None:
        """End this thread's turn."""
        self._turns.pop(threading.get_ident(), None)

    def stuck(self, now: float) -> tuple[StuckReading, ...]:
        """The turns that make no progress; `now` in UNIX seconds."""
        frames, moment = sys._current_frames(), self._monotonic()
        return tuple(
            StuckReading(source=source, since=now - (moment - last), where=_where(frames.get(thread)))
            for thread, (source, last) in tuple(self._turns.items())
            if moment - last >= STUCK_SECONDS
        )


class StuckReadings:
    """What workers have reported about their threads. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def report(self, stuck: StuckReading) -> None:
        """Store it for a while; report it again while it lasts."""
        with state_errors():
            self.client.set(keys.stuck_reading(stuck.source), json.dumps(asdict(stuck)), ex=_REPORT_SECONDS)

    def of(self, source: str) -> StuckReading | None:
        """The thread that is stuck now, or None."""
        with state_errors():
            key = keys.stuck_reading(source)
            stored = cast(
                "bytes | None", self.client.get(key) if exists_for(self.client, key, _REPORT_SECONDS) else None
            )
        return None if stored is None else record_or_none(StuckReading, stored, place=key)


def _where(frame: FrameType | None) -> str:
    names: list[str] = []
    while frame is not None and len(names) < _FRAMES:
        names.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(names) or "unknown"
