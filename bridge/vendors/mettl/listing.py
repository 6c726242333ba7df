"""Cursors of the list of candidates, and which page follows which. Pure; makes no calls.

A round reads every schedule by start of the test, newest first, down to the newest start of the last round. The
reasons and the costs are in `QUIRKS.md` section "Reading the list".

A cursor is `<since>` between rounds; during a round it is the members of a `Place`, joined by bars.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.errors import VendorFault
from bridge.vendors.mettl.api import LIMIT
from bridge.vendors.mettl.schema import Moment

__all__ = ["Place", "after_page", "position", "rewind", "rows_of", "start", "started"]

#: Rows that two pages share, so that deleted results do not make others slip between pages.
_SHARED = 5
#: The same page this often in a row means that the vendor ignores our offset.
_MAX_REPEATS = 3
#: Longest time from start to finish of a sitting: the list has only starts, but cursors are made for finishes.
_SITTING_SECONDS = 86_400
#: A candidate appears in the list a little after the start, so every round goes back at least this far.
_MIN_OVERLAP = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a round in the list; times are UNIX seconds."""

    #: Earlier starts are not read.
    since: int
    #: When the round began.
    began: int = 0
    #: Latest start seen; 0: none yet.
    newest: int = 0
    #: The schedule being read; "": before the first one.
    access_key: str = ""
    #: Rows of the schedule before the next page.
    offset: int = 0
    #: Identifies the previous page.
    fingerprint: str = ""
    #: How often the previous page came again.
    repeats: int = 0

    @classmethod
    def read(cls, cursor: str | None, now: float) -> Place:
        """The place of a cursor; one without a schedule begins a round. Raises `VendorFault` for any other text."""
        parts = (cursor or "0").split("|")
        try:
            if len(parts) == 1:
                return cls(since=int(parts[0]), began=int(now))
            since, began, newest, access_key, offset, fingerprint, repeats = parts
            return cls(int(since), int(began), int(newest), access_key, int(offset), fingerprint, int(repeats))
        except ValueError as error:
            raise VendorFault("cursor: is not one of Mettl's. Reading starts again", reason="bad_cursor") from error

    def at(self, access_key: str) -> Place:
        """The beginning of a schedule."""
        return replace(self, access_key=access_key, offset=0, fingerprint="", repeats=0)

    def __str__(self) -> str:
        return "|".join(str(getattr(self, name)) for name in self.__slots__)

    @property
    def end(self) -> str:
        """The cursor after the round: the newest start seen, at most the beginning of the round."""
        return str(max(self.since, self.newest))


def start(moment: float, _until: float | None = None) -> str:
    """The cursor that reads what finished at `moment` (UNIX seconds) or later, for sittings of up to a day; the API has
    no upper limit."""
    return str(int(moment) - _SITTING_SECONDS)


def rewind(cursor: str, overlap_seconds: float) -> str:
    """The cursor of a new round: at least a minute back."""
    return str(int(position(cursor)) - int(max(overlap_seconds, _MIN_OVERLAP)))


def position(cursor: str) -> float:
    """The UNIX seconds a cursor stands for."""
    return float(cursor.partition("|")[0])


def after_page(
    place: Place, rows: Sequence[Mapping[str, Any]], *, more: bool, next_key: str | None
) -> tuple[Place, bool]:
    """The place after a page, and whether there is anything left to read.

    `more`: the vendor announces a next page. Its URL is never followed: we sign our own offset for every page.
    Raises `VendorFault` if the same page keeps coming.
    """
    starts = [moment for moment in (started(row) for row in rows) if moment is not None]
    place = replace(place, newest=max([place.newest, *(moment for moment in starts if moment <= place.began)]))
    # Candidates without a start may come first or last; only a start that is too old ends a list, and only if the
    # list is really sorted.
    ordered = starts == sorted(starts, reverse=True)
    reached = bool(starts) and ordered and starts[-1] < place.since
    if rows and not reached and (more or len(rows) >= LIMIT):
        fingerprint = _fingerprint(rows)
        # Once may be chance: new rows may push the same rows under the next offset.
        repeats = place.repeats + 1 if fingerprint == place.fingerprint else 0
        if repeats >= _MAX_REPEATS:
            raise VendorFault(
                f"schedule {place.access_key}: the page at offset {place.offset} keeps repeating", reason="loop"
            )
        offset = place.offset + len(rows) - min(_SHARED, (len(rows) - 1) // 2)
        return replace(place, offset=offset, fingerprint=fingerprint, repeats=repeats), True
    if next_key is None:
        return place, False
    return place.at(next_key), True


def rows_of(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of a page; what is not an object is skipped, because it cannot be a result."""
    rows = answer["candidates"]
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def started(row: Mapping[str, Any]) -> int | None:
    """When the test of a row was started, UNIX seconds; None if that is unreadable, which the adapter reports."""
    test = row.get("testStatus")
    try:
        moment = Moment.convert(test["startTime"]) if isinstance(test, dict) else None
    except (KeyError, ValueError):
        return None
    return None if moment is None else int(moment.timestamp())


def _fingerprint(rows: Sequence[Mapping[str, Any]]) -> str:
    """A digest that identifies a page without revealing who is on it."""
    text = "\x1f".join(str(row.get("email")) for row in rows)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
