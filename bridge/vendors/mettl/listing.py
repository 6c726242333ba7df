"""Cursors of the list of candidates, and which page follows which. Pure; makes no calls.

A round reads every schedule by start of the test, newest first, down to the newest start of the last round. The
reasons and the costs are in `QUIRKS.md` section "Reading the list".

Between rounds a cursor is `<since>|<newest>|<unread>`, without what is empty; during a round it is the members of a
`Place`. Both are joined by bars.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote

from bridge.errors import VendorFault
from bridge.vendors.mettl.schema import Moment

__all__ = ["Place", "after_page", "position", "rewind", "start", "started"]

#: Rows that two pages share, so that deleted results do not let others slip between pages.
SHARED = 5
#: The same page this often in a row means that the vendor ignores our offset.
_MAX_REPEATS = 3
#: Longest time from start to finish of a sitting: the list has only starts, but cursors are made for finishes.
_SITTING_SECONDS = 86_400
#: A candidate appears in the list a little after the start, so every round goes back at least this far.
_MIN_OVERLAP = 60.0
#: After the start of an unread schedule: it was tried in this round.
_TRIED = "!"


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a round in the list; times are UNIX seconds."""

    #: Earlier starts are not read.
    since: int
    #: When the round began.
    began: int = 0
    #: Latest start seen; 0: none yet.
    newest: int = 0
    #: The schedule being read, or the last one; "": before the first one.
    access_key: str = ""
    #: Rows of the schedule before the next page; None: the schedule is read.
    offset: int | None = None
    #: Identifies the previous page.
    fingerprint: str = ""
    #: How often the previous page came again.
    repeats: int = 0
    #: Rows of the list of schedules before its current page.
    listed: int = 0
    #: Schedule that could not be read -> the start down to which it must still be read.
    unread: Mapping[str, int] = field(default_factory=dict)
    #: Those of them that were tried in this round.
    tried: frozenset[str] = frozenset()

    @classmethod
    def read(cls, cursor: str | None, now: float) -> Place:
        """The place of a cursor; one without a schedule begins a round. Raises `VendorFault` for any other text."""
        parts = (cursor or "0").split("|")
        try:
            if len(parts) <= 3:
                since, newest, unread = (*parts, "", "")[:3]
                waiting, _ = _unread(unread)
                return cls(since=int(since), began=int(now), newest=int(newest or 0), unread=waiting)
            if len(parts) == 7:
                # An earlier version read the schedules in another order: its round begins again.
                return cls(since=int(parts[0]), began=int(parts[1]), newest=int(parts[2]))
            since, began, newest, access_key, offset, fingerprint, repeats, listed, unread = parts
            waiting, tried = _unread(unread)
            return cls(
                since=int(since),
                began=int(began),
                newest=int(newest),
                access_key=unquote(access_key),
                offset=int(offset) if offset else None,
                fingerprint=fingerprint,
                repeats=int(repeats),
                listed=int(listed),
                unread=waiting,
                tried=tried,
            )
        except ValueError as error:
            raise VendorFault("cursor: is not one of Mettl's. Reading starts again", reason="bad_cursor") from error

    def __str__(self) -> str:
        offset = "" if self.offset is None else self.offset
        parts = (self.since, self.began, self.newest, quote(self.access_key, safe=""), offset, self.fingerprint)
        return "|".join(map(str, (*parts, self.repeats, self.listed, _unread_text(self.unread, self.tried))))

    @property
    def end(self) -> str:
        """The cursor after the round: the newest start seen, at most the beginning of the round."""
        text = str(max(self.since, self.newest))
        return f"{text}||{_unread_text(self.unread)}" if self.unread else text

    @property
    def down_to(self) -> int:
        """Earlier starts of the current schedule are not read: some must be read further back than the others."""
        return min(self.since, self.unread.get(self.access_key, self.since))

    def at(self, access_key: str, *, listed: int | None = None) -> Place:
        """The beginning of a schedule, which is on the page of the list of schedules after `listed` rows."""
        listed = self.listed if listed is None else listed
        return replace(self, access_key=access_key, offset=0, fingerprint="", repeats=0, listed=listed)

    def after_schedule(self, *, is_read: bool) -> Place:
        """The end of a schedule. One that could not be read is read from the same start by the next round."""
        key, unread = self.access_key, dict(self.unread)
        down_to = self.down_to
        unread.pop(key, None)
        if not is_read:
            unread[key] = down_to
        tried = self.tried - {key} if is_read else self.tried | {key}
        return replace(self, offset=None, fingerprint="", repeats=0, unread=unread, tried=tried)


def start(moment: float, _until: float | None = None) -> str:
    """The cursor that reads what finished at `moment` (UNIX seconds) or later, for sittings of up to a day; the API has
    no upper limit."""
    return str(int(moment) - _SITTING_SECONDS)


def rewind(cursor: str, overlap_seconds: float) -> str:
    """The cursor of a new round: at least a minute back. It keeps the old start as the newest one seen, so that a round
    without newer ones ends where it would have begun."""
    reached, _, rest = cursor.partition("|")
    unread = rest.rpartition("|")[2] if rest.count("|") == 1 else ""
    back = int(reached) - int(max(overlap_seconds, _MIN_OVERLAP))
    return f"{back}|{int(reached)}|{unread}" if unread else f"{back}|{int(reached)}"


def position(cursor: str) -> float:
    """The UNIX seconds that a cursor represents."""
    return float(cursor.partition("|")[0])


def after_page(place: Place, rows: Sequence[Mapping[str, Any]], *, more: bool) -> Place:
    """The place after a page. `more`: the vendor announces a next page, or the page is full.

    Raises `VendorFault` if the same page keeps coming.
    """
    starts = [moment for moment in (started(row) for row in rows) if moment is not None]
    newest = max([place.newest, *(moment for moment in starts if moment <= place.began)])
    # Candidates without a start may come first or last; only a start that is too old ends a list, and only if the
    # list is really sorted.
    ordered = starts == sorted(starts, reverse=True)
    reached = bool(starts) and ordered and starts[-1] < place.down_to
    place = replace(place, newest=newest)
    if not rows or reached or not more:
        return place.after_schedule(is_read=True)
    fingerprint = _fingerprint(rows)
    # Once may be chance: new rows may push the same rows under the next offset.
    repeats = place.repeats + 1 if fingerprint == place.fingerprint else 0
    if repeats >= _MAX_REPEATS:
        raise VendorFault(
            f"schedule {place.access_key}: the page at offset {place.offset} keeps repeating", reason="loop"
        )
    offset = (place.offset or 0) + len(rows) - min(SHARED, (len(rows) - 1) // 2)
    return replace(place, offset=offset, fingerprint=fingerprint, repeats=repeats)


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


def _unread(text: str) -> tuple[dict[str, int], frozenset[str]]:
    """Schedule -> start from the text in a cursor, and which of them were tried in this round."""
    entries = [entry.partition("=") for entry in text.split(",") if entry]
    waiting = {unquote(key): int(moment.removesuffix(_TRIED)) for key, _, moment in entries}
    return waiting, frozenset(unquote(key) for key, _, moment in entries if moment.endswith(_TRIED))


def _unread_text(unread: Mapping[str, int], tried: frozenset[str] = frozenset()) -> str:
    entries = (f"{quote(key, safe='')}={at}{_TRIED if key in tried else ''}" for key, at in sorted(unread.items()))
    return ",".join(entries)
