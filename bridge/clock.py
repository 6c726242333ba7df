"""The only module that reads the clock. Decisions take the moment as an argument; processes hand `now` down."""

from __future__ import annotations

import time
from datetime import UTC, datetime

__all__ = ["monotonic", "now", "to_datetime"]


def now() -> float:
    """The moment as UNIX seconds with fraction, UTC."""
    return time.time()  # noqa: TID251 - this is the one place


def monotonic() -> float:
    """Seconds of a clock that never jumps; only differences mean anything."""
    return time.monotonic()


def to_datetime(moment: float) -> datetime:
    """UNIX seconds as an aware UTC datetime."""
    return datetime.fromtimestamp(moment, UTC)
