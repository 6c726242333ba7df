"""Cursors for a list that is queried by time and read page by page, oldest first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.errors import VendorFault
from bridge.sdk.fields import TolerantField
from bridge.sdk.vendor import Page, Poll, Record

__all__ = ["TimeCursor", "poll_by_time"]


@dataclass(frozen=True, slots=True)
class TimeCursor:
    """The place of a round in a list. As text: `<newest>` between two rounds, all four joined by bars during one."""

    #: Ask for rows from this moment on, UNIX seconds. If the API leaves out the moment itself, ask for `since - 1`.
    since: int
    #: Time of the newest row so far: the next round begins there, less its overlap.
    newest: int
    #: The page to ask for, as its number or the vendor's own text; "": the first one.
    page: str = ""
    #: Identifies the previous page.
    last: str = ""

    @classmethod
    def read(cls, cursor: str | None) -> TimeCursor:
        """The place that the text of a cursor describes. Raises `VendorFault` for text that is not a cursor."""
        parts = (cursor or "0").split("|", 3)
        try:
            since, newest, last, page = parts if len(parts) == 4 else (parts[0], parts[0], "", "")
            return cls(int(since), int(newest), page, last)
        except ValueError as error:
            raise VendorFault("cursor: is not one of this vendor's", reason="bad_cursor") from error

    def __str__(self) -> str:
        return f"{self.since}|{self.newest}|{self.last}|{self.page}"

    def page_of(
        self, kind: str, rows: Sequence[Any], time: tuple[str, TolerantField], following: str | int | None, now: float
    ) -> Page:
        """The page of these rows, as records of a kind. `time`: the member by which the list is sorted, `finished` or
        `attempt.finished`, and its field. `following`: the next page; None after the last one. `now`: UNIX seconds.

        A row that cannot be read is a record too, which normalising reports. A time in the future moves no cursor.
        Raises `VendorFault` for a page that comes twice: the API ignores its parameters.
        """
        records, moments = _read(kind, rows, time, now)
        newest = max([self.newest, *moments])
        if following is None:
            return Page(records=records, cursor=str(newest), more=False)
        digest = hashlib.blake2b(repr(rows).encode(errors="replace"), digest_size=6).hexdigest()
        if digest == self.last or not rows:
            raise VendorFault(f"page {following}: the one before came twice, or is empty", reason="loop")
        return Page(records=records, cursor=str(TimeCursor(self.since, newest, str(following), digest)), more=True)

    @property
    def asked(self) -> int:
        """The time to ask for if the API has no pages, for `page_by_time`."""
        return int(self.page or self.since)

    def page_by_time(
        self, kind: str, rows: Sequence[Any], time: tuple[str, TolerantField], now: float, *, more: bool
    ) -> Page:
        """`page_of` for an API that is queried only by time, from `asked` on: the next page begins at the newest row.

        A second with more rows than a page holds is skipped, and reported by a record that normalising must refuse,
        because it has no member of a row. Raises `VendorFault` if the rows do not advance.
        """
        records, moments = _read(kind, rows, time, now)
        newest, following = max([self.newest, *moments]), max(moments, default=0)
        if not more:
            return Page(records=records, cursor=str(newest), more=False)
        if following < self.asked:
            raise VendorFault(f"rows end before {self.asked}, which was asked for, but there are more", reason="loop")
        if following == self.asked:
            records.append(Record(kind, {"problem": f"second {following} has more rows than the API lists"}))
            following += 1
        return Page(records=records, cursor=str(TimeCursor(self.since, newest, str(following))), more=True)


def poll_by_time(fetch: Callable[..., Page], *, visible_after: float = 60.0, per: str | None = None) -> Poll:
    """A `Poll` whose cursors are those of `TimeCursor`.

    `visible_after`: rows may appear this many seconds after others with a later time, so every round goes back that
    far. `per`: as in `Poll`; with it, `fetch` gets the item too.
    """

    def rewind(cursor: str, overlap_seconds: float) -> str:
        # What was read stays in it, so that a round without anything new ends where the last one did.
        newest = TimeCursor.read(cursor).newest
        return str(TimeCursor(newest - int(max(overlap_seconds, visible_after)), newest))

    return Poll(fetch=fetch, rewind=rewind, start=_start, position=_position, per=per)


def _start(moment: float, _until: float | None = None) -> str:
    return str(int(moment))


def _position(cursor: str) -> float:
    at = TimeCursor.read(cursor)
    return float(at.newest if at.page else at.since)


def _read(
    kind: str, rows: Sequence[Any], time: tuple[str, TolerantField], now: float
) -> tuple[list[Record], list[int]]:
    """Rows as records, and the UNIX seconds of those that have a readable time, which is not in the future."""
    place, field = time
    records = [Record(kind, row if isinstance(row, dict) else {}) for row in rows]
    moments = (_moment(_at(record.body, place), field.convert) for record in records)
    return records, [int(moment) for moment in moments if moment is not None and moment <= now]


def _at(row: Any, place: str) -> Any:
    for name in place.split("."):
        row = row.get(name) if isinstance(row, Mapping) else None
    return row


def _moment(value: Any, convert: Callable[[Any], Any]) -> float | None:
    try:
        moment = None if value is None else convert(value)
    except ValueError:
        return None
    return None if moment is None else float(moment.timestamp())
