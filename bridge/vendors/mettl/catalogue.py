"""The schedules that are polled, a page of the list at a time: an account may have more than one turn can list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from bridge.errors import VendorFault
from bridge.vendors.mettl.answers import has_more, rows_of
from bridge.vendors.mettl.api import Api
from bridge.vendors.mettl.listing import SHARED, Place
from bridge.vendors.mettl.names import Names, access_key_of

__all__ = ["Catalogue"]

#: In `Place.listed`: the list has been read; schedules that could not be read before are now read again.
_LISTED = -1

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Part:
    """One page of the list of schedules."""

    #: Access keys, in the order of the list.
    keys: tuple[str, ...]
    #: Where the next page begins; None: this is the last one.
    following: int | None

    def after(self, access_key: str) -> str | None:
        """The schedule after another one, which may be on the page before this one; None: it is the last one here."""
        first = self.keys.index(access_key) + 1 if access_key in self.keys else 0
        return self.keys[first] if first < len(self.keys) else None


class Catalogue:
    """`configured`: access keys to read; empty: all of the account. Each page is read once a turn."""

    def __init__(self, api: Api, source: str, configured: Sequence[str], names: Names) -> None:
        self._api = api
        self._source = source
        self._configured = tuple(sorted(frozenset(configured) - {""}))
        self._names = names
        self._parts: dict[int, _Part] = {}

    def first_keys(self) -> tuple[tuple[str, ...], bool]:
        """The configured access keys or those of the first page, and whether there are more."""
        part = self._part(0)
        return part.keys, part.following is not None

    def next_place(self, place: Place) -> Place | None:
        """The beginning of the schedule after that of a place; None after the last one.

        After the list come schedules that could not be read before and were not in the list. Raises `VendorFault` if
        the list does not end.
        """
        listed = place.listed
        while listed != _LISTED:
            part = self._part(listed)
            key = self._after_configured(place.access_key) if self._configured else part.after(place.access_key)
            if key is not None:
                return place.at(key, listed=listed)
            if part.following is None:
                break
            if self._part(part.following).keys == part.keys:
                raise VendorFault(f"source {self._source}: the list of schedules does not end", reason="loop")
            listed = part.following
        waiting = min(place.unread.keys() - place.tried, default=None)
        return None if waiting is None else place.at(waiting, listed=_LISTED)

    def knows_next(self, place: Place) -> bool:
        """Whether `next_place` needs no call."""
        part = self._parts.get(place.listed)
        if self._configured or place.listed == _LISTED:
            return True
        return part is not None and (part.following is None or part.after(place.access_key) is not None)

    def _after_configured(self, access_key: str) -> str | None:
        return next((key for key in self._configured if key > access_key), None)

    def _part(self, listed: int) -> _Part:
        if self._configured:
            return _Part(self._configured, None)
        if listed not in self._parts:
            answer = self._api.schedules(offset=listed)
            rows = rows_of(answer, "schedules")
            self._names.learn(rows)
            keys = tuple(key for key in map(access_key_of, rows) if key is not None)
            if len(keys) < len(rows):
                _log.warning("schedules_without_access_key", source=self._source, rows=len(rows) - len(keys))
            following = (
                listed + len(rows) - min(SHARED, (len(rows) - 1) // 2) if has_more(answer, "schedules") else None
            )
            self._parts[listed] = _Part(tuple(dict.fromkeys(keys)), following)
        return self._parts[listed]
