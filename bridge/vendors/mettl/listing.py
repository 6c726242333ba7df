"""How the list of candidates is read: cursors, and what one page means for the next. Pure; no calls.

A round reads every schedule by start of the test, newest first, down to where the last round's newest start was. The
reasons, and what it costs, are in `QUIRKS.md` section "Reading the list".

Cursor: `<since>` between rounds; inside one the members of a `Place`
joined by bars.
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

#: Rows that two pages share, so that deleted results do not pull others past the border.
_SHARED = 5
#: The same page so often in a row is no chance: the vendor does not heed our offset.
_MOST_REPEATS = 3
#: The longest that a sitting lies between start and finish, for reading from a moment on: the list knows starts only.
_SITTING_SECONDS = 86_400
#: A candidate shows up in the list a little after the start, so a round always goes back at least this far.
_MIN_OVERLAP = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a round stands; times are UNIX seconds.

    `since`: starts before it are not wanted; `began`: when the round did; `newest`: latest start seen, 0: none yet.
    `access_key` "": before the first schedule. `fingerprint`: of the page before, which came `repeats` times again.
    """

    since: int
    began: int = 0
    newest: int = 0
    access_key: str = ""
    offset: int = 0
    fingerprint: str = ""
    repeats: int = 0

    @classmethod
    def read(cls, cursor: str | None, now: float) -> Place:
        """From a cursor; a round begins where it has no schedule yet. Raises `VendorFault` for any other text."""
        parts = (cursor or "0").split("|")
        try:
            if len(parts) == 1:
                return cls(since=int(parts[0]), began=int(now))
            since, began, newest, access_key, offset, fingerprint, repeats = parts
            return cls(int(since), int(began), int(newest), access_key, int(offset), fingerprint, int(repeats))
        except ValueError as error:
            raise VendorFault("the cursor is none of Mettl's; reading starts again", reason="bad_cursor") from error

    def at(self, access_key: str) -> Place:
        """The beginning of a schedule."""
        return replace(self, access_key=access_key, offset=0, fingerprint="", repeats=0)

    def __str__(self) -> str:
        return "|".join(str(getattr(self, name)) for name in self.__slots__)

    @property
    def end(self) -> str:
        """The cursor after the round: the newest start seen, never after the round began, never "now"."""
        return str(max(self.since, self.newest))


def start(moment: float, _until: float | None = None) -> str:
    """The cursor that reads what finished at `moment` (UNIX seconds) or later, if the sitting took no longer than a
    day; the API knows no end."""
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
    """Where to go on after a page, and whether there is anything to go on to.

    `more`: the vendor names a next page. Its address is never followed: our own offset is signed for every page.
    Raises `VendorFault` if a page comes again.
    """
    starts = [moment for moment in (started(row) for row in rows) if moment is not None]
    place = replace(place, newest=max([place.newest, *(one for one in starts if one <= place.began)]))
    # Candidates without a start may stand before or behind the others; only a start that is too old ends a list,
    # and only a list that really is in order.
    ordered = starts == sorted(starts, reverse=True)
    reached = bool(starts) and ordered and starts[-1] < place.since
    if rows and not reached and (more or len(rows) >= LIMIT):
        fingerprint = _fingerprint(rows)
        # Once may be chance: as many newcomers as we went on push the same rows under the next offset.
        repeats = place.repeats + 1 if fingerprint == place.fingerprint else 0
        if repeats >= _MOST_REPEATS:
            raise VendorFault(
                f"schedule {place.access_key}: the page at offset {place.offset} comes again and again", reason="loop"
            )
        offset = place.offset + len(rows) - min(_SHARED, (len(rows) - 1) // 2)
        return replace(place, offset=offset, fingerprint=fingerprint, repeats=repeats), True
    if next_key is None:
        return place, False
    return place.at(next_key), True


def rows_of(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of a page; what is no object at all cannot be anybody's result."""
    rows = answer["candidates"]
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def started(row: Mapping[str, Any]) -> int | None:
    """When the test of a row began, UNIX seconds; one that does not say so readably is the adapter's to report."""
    test = row.get("testStatus")
    try:
        moment = Moment.convert(test["startTime"]) if isinstance(test, dict) else None
    except (KeyError, ValueError):
        return None
    return None if moment is None else int(moment.timestamp())


def _fingerprint(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tells two pages apart, and nothing about who stands on them."""
    text = "\x1f".join(str(row.get("email")) for row in rows)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
