"""Cursors of the list by creation: a window, the vendor's own page cursor, and the times of the rows read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from bridge.errors import VendorFault
from bridge.vendors.thought_industries.adapter import LONGEST_SITTING

__all__ = ["Cursor", "position", "rewind", "start"]

#: A round goes back at least this far for rows that are listed late; the sweep reads those that come even later.
MIN_OVERLAP_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The place of a round in the list. All times are UNIX seconds of creation."""

    #: Start of the window.
    start: float
    #: End of the window; None: now.
    until: float | None = None
    #: The vendor's cursor of the next page; None: the first page.
    page: str | None = None
    #: The oldest attempt of this round that is in progress or not graded.
    oldest_open: float | None = None
    #: The newest row of this and earlier rounds.
    newest: float | None = None

    @classmethod
    def read(cls, text: str) -> Cursor:
        """The cursor in a text made by `str`, by any version. Raises `VendorFault` for text that is not a cursor."""
        try:
            members = json.loads(text)
            cursor = cls(**{name: members[name] for name in cls.__slots__ if name in members})
        except (ValueError, TypeError, RecursionError) as error:
            raise VendorFault("cursor: is not one of this vendor's", reason="bad_cursor") from error
        moments = [moment for moment in (cursor.until, cursor.oldest_open, cursor.newest) if moment is not None]
        if not (all(isinstance(moment, int | float) for moment in (cursor.start, *moments))):
            raise VendorFault("cursor: has no times of this vendor's", reason="bad_cursor")
        return cursor

    def __str__(self) -> str:
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(told, separators=(",", ":"))

    def after(self, created: Sequence[float], still_open: Sequence[float], page: str | None) -> Cursor:
        """The cursor after a page: `created` of its rows and of the open ones, and the vendor's next cursor.

        Without a next page, the next round starts at the oldest open attempt, because otherwise its finish would be
        missed.
        """
        newest = max((moment for moment in (self.newest, *created) if moment is not None), default=None)
        oldest = min((moment for moment in (self.oldest_open, *still_open) if moment is not None), default=None)
        if page is not None:
            return replace(self, page=page, oldest_open=oldest, newest=newest)
        return Cursor(start=min((moment for moment in (oldest, newest) if moment is not None), default=self.start))


def start(moment: float, until: float | None = None) -> str:
    """The cursor that lists what finished from `moment` to `until` (UNIX seconds).

    The API selects by creation, so the window starts earlier by the longest sitting that is waited for.
    """
    return str(Cursor(start=moment - LONGEST_SITTING, until=until))


def rewind(cursor: str, overlap_seconds: float) -> str:
    """The cursor of a new round: at least a minute back. It keeps the old start as `newest`, because otherwise rounds
    without rows would move backwards."""
    reached = Cursor.read(cursor).start
    return str(Cursor(start=reached - max(overlap_seconds, MIN_OVERLAP_SECONDS), newest=reached))


def position(cursor: str) -> float:
    """The UNIX seconds that a cursor represents: the start of its round, or during a round the newest row so far."""
    at = Cursor.read(cursor)
    return at.start if at.page is None or at.newest is None else at.newest
