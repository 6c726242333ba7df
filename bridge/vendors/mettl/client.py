"""Mettl's candidates: pages of all schedules, one person, a first login. Does not interpret results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from bridge.errors import Unreadable
from bridge.sdk.vendor import Page, Record, SourceFacts, VendorCalls
from bridge.vendors.mettl.adapter import CANDIDATE, expect
from bridge.vendors.mettl.answers import NotFound, rows_of_one
from bridge.vendors.mettl.api import Api
from bridge.vendors.mettl.catalogue import FACTS, Catalogue
from bridge.vendors.mettl.listing import Place, after_page, rows_of, started
from bridge.vendors.mettl.vocabulary import attempt_state, fold

__all__ = ["Client"]

_log = structlog.get_logger(__name__)


class Client:
    """One account. `api` has the documented calls."""

    def __init__(self, source: SourceFacts, calls: VendorCalls) -> None:
        self.api = Api(source, calls)
        self._source = source.name
        self._configured: tuple[str, ...] = tuple(source.options["schedules"])
        self._catalogue = Catalogue(self.api, source.name, self._configured)

    def page(self, cursor: str | None) -> Page:
        """One page of one schedule."""
        place = Place.read(cursor, self.api.now())
        keys = self._catalogue.access_keys()
        if not place.access_key:
            if not keys:
                return Page(records=(), cursor=place.end, more=False)
            place = place.at(keys[0])
        rows, more = self._rows(place)
        following, goes_on = after_page(
            place, rows, more=more, next_key=next((key for key in keys if key > place.access_key), None)
        )
        return Page(
            records=self._records(place.access_key, rows, {}),
            cursor=str(following) if goes_on else following.end,
            more=goes_on,
        )

    def recheck(self, reference: Mapping[str, str]) -> Sequence[Record]:
        """The record of one watched attempt as it is now; empty while the candidate is unknown or has not started.

        Raises `Unreadable` for a reference that names none.
        """
        try:
            wanted = expect(reference, {}).reference
        except ValueError as error:
            raise Unreadable(f"watch: {error}") from error
        try:
            candidates = rows_of_one(self.api.candidate(**wanted))
        except NotFound:
            return []
        rows = [{**row, "email": row.get("email") or wanted["email"]} for row in candidates]
        theirs = [
            {**row, **_sitting(row, reference)}
            for row in rows
            if fold(str(row["email"])) == fold(wanted["email"]) and _has_started(row)
        ]
        return self._records(
            wanted["access_key"], theirs, {name: reference[name] for name in FACTS if name in reference}
        )

    def probe(self) -> str:
        """Log in and read as little as possible. Raises what a round would."""
        self.api.account()
        for key in self._configured:
            self.api.schedule(key)
        keys = self._catalogue.access_keys()
        if keys:
            self.api.candidates(keys[0], limit=1)
        return f"logged in; {len(keys)} {'schedule' if len(keys) == 1 else 'schedules'}"

    def _rows(self, place: Place) -> tuple[list[Mapping[str, Any]], bool]:
        """The rows of a page, and whether there is a next one."""
        try:
            answer = self.api.candidates(place.access_key, offset=place.offset)
        except NotFound:
            # Deleted since it was listed, or a typo in `options.schedules`: go on with the other schedules.
            _log.error("schedule_not_found", source=self._source, schedule=place.access_key)
            return [], False
        return rows_of(answer), bool((answer["paging"] or {}).get("next"))

    def _records(self, access_key: str, rows: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> list[Record]:
        """Records of rows, completed by the facts of their schedule; facts that a watch has need no call."""
        if not rows:
            return []
        facts = known or self._catalogue.facts(access_key)
        return [Record(CANDIDATE, {**row, **facts, "access_key": access_key}) for row in rows]


def _sitting(row: Mapping[str, Any], reference: Mapping[str, str]) -> dict[str, str]:
    """The webhook's id of the sitting, if this row is that sitting; a later start is another sitting."""
    began = started(row)
    if began is None or "sitting" not in reference or began > int(reference.get("sent", 0)):
        return {}
    return {"sitting": reference["sitting"]}


def _has_started(row: Mapping[str, Any]) -> bool:
    """Whether the candidate has started; True if that is unreadable, which the adapter reports."""
    test = row.get("testStatus")
    if not isinstance(test, dict):
        return True
    words = [test.get(name) for name in ("status", "overallStatus", "detailedStatus", "completionMode")]
    if not all(word is None or isinstance(word, str) for word in words):
        return True
    try:
        return attempt_state(*words, has_result=bool(test.get("result"))).status != "not_started"
    except Unreadable:
        return True
