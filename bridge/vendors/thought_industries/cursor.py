"""Where reading a list by creation stands: a window, the vendor's own page cursor, and how far the rows have led."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from bridge.vendors.thought_industries.adapter import LONGEST_SITTING

__all__ = ["Cursor", "position", "rewind", "start"]

#: A round goes back at least so far for rows that show up late; the sweep reads those that come later still.
MIN_OVERLAP_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """All times are UNIX seconds of creation. `start`, `until`: the window. `page`: the vendor's cursor inside it.

    `oldest_open`: the oldest attempt of this round that is still worked on or graded. `newest`: the newest row of this
    and earlier rounds.
    """

    start: float
    until: float | None = None
    page: str | None = None
    oldest_open: float | None = None
    newest: float | None = None

    @classmethod
    def read(cls, text: str) -> Cursor:
        """From the text that `str` makes."""
        return cls(**json.loads(text))

    def __str__(self) -> str:
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(told, separators=(",", ":"))

    def after(self, created: Sequence[float], still_open: Sequence[float], page: str | None) -> Cursor:
        """Once a page is read: `created` of its rows, of those that are open, and the vendor's cursor of the next.

        Without a next page this is where the next round begins: at the oldest open attempt, or it would finish unseen.
        """
        newest = max((moment for moment in (self.newest, *created) if moment is not None), default=None)
        oldest = min((moment for moment in (self.oldest_open, *still_open) if moment is not None), default=None)
        if page is not None:
            return replace(self, page=page, oldest_open=oldest, newest=newest)
        return Cursor(start=min((moment for moment in (oldest, newest) if moment is not None), default=self.start))


def start(moment: float, until: float | None = None) -> str:
    """The cursor that lists what finished from `moment` to `until` (UNIX seconds).

    The API selects by creation, so the window opens earlier by the longest sitting that is waited for.
    """
    return str(Cursor(start=moment - LONGEST_SITTING, until=until))


def rewind(cursor: str, overlap_seconds: float) -> str:
    """The cursor of a new round: at least a minute back. It still knows where it came from, or rounds without rows
    would creep backwards."""
    reached = Cursor.read(cursor).start
    return str(Cursor(start=reached - max(overlap_seconds, MIN_OVERLAP_SECONDS), newest=reached))


def position(cursor: str) -> float:
    """The UNIX seconds a cursor stands for: where its round begins, or inside a round the newest row so far."""
    at = Cursor.read(cursor)
    return at.start if at.page is None or at.newest is None else at.newest
