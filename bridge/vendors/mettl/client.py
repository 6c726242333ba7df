"""Mettl's candidates: pages of all schedules, one person, a first login. Does not interpret results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from bridge.errors import BridgeError, Unreadable, VendorFault, VendorRefused, VendorUnavailable, clip
from bridge.sdk.spelling import alike
from bridge.sdk.vendor import Page, Record, SourceFacts, VendorCalls
from bridge.vendors.mettl.adapter import CANDIDATE, expect
from bridge.vendors.mettl.answers import NOT_ALLOWED, NotFound, has_more, rows_of, rows_of_one
from bridge.vendors.mettl.api import Api
from bridge.vendors.mettl.catalogue import Catalogue
from bridge.vendors.mettl.listing import Place, after_page, started
from bridge.vendors.mettl.names import FACTS, Names
from bridge.vendors.mettl.vocabulary import attempt_state

__all__ = ["Client"]

#: If more schedules than this cannot be read, the problem is not a single schedule.
_MOST_UNREAD = 100

_log = structlog.get_logger(__name__)


class Client:
    """One account. `api` has the documented calls."""

    def __init__(self, source: SourceFacts, calls: VendorCalls) -> None:
        self.api = Api(source, calls)
        self._source = source.name
        self._configured: tuple[str, ...] = tuple(source.options["schedules"])
        self._names = Names(self.api, source.name, calls)
        self._catalogue = Catalogue(self.api, source.name, self._configured, self._names)
        #: Schedule -> why it could not be read in this turn.
        self._problems: dict[str, str] = {}

    def page(self, cursor: str | None) -> Page:
        """One page of one schedule. A schedule that cannot be read is skipped, and read further back by later rounds.

        Raises what the account itself answers: that it is down, or refuses the key.
        """
        place = Place.read(cursor, self.api.now())
        if place.offset is None or not place.access_key:
            following = self._next_place(place)
            if following is None:
                return Page(records=(), cursor=place.end, more=False, unread=self._unread(place))
            place = following
        rows, place = self._rows(place)
        records = self._records(place.access_key, rows, {})
        after: Place | None = place
        if place.offset is None and self._catalogue.knows_next(place):
            after = self._catalogue.next_place(place)
        return Page(
            records=records,
            cursor=place.end if after is None else str(after),
            more=after is not None,
            unread=self._unread(place),
        )

    def recheck(self, reference: Mapping[str, str]) -> Sequence[Record]:
        """The record of one watched attempt as it is now; empty while the candidate is unknown or has not started.

        Raises `Unreadable` for a reference that identifies none, and `VendorFault` if only its schedule cannot be read.
        """
        try:
            wanted = expect(reference, {}).reference
        except ValueError as error:
            raise Unreadable(f"watch: {error}") from error
        try:
            where = f"source {self._source}: schedule {wanted['access_key']}"
            candidates = rows_of_one(self.api.candidate(**wanted), where)
        except NotFound:
            return []
        except (VendorUnavailable, VendorRefused) as problem:
            self._check_account(problem)
            raise VendorFault(f"{where}: not readable: {clip(problem)}", reason="part_unreadable") from problem
        rows = [{**row, "email": row.get("email") or wanted["email"]} for row in candidates]
        theirs = [
            {**row, **_sitting(row, reference)}
            for row in rows
            if alike(str(row["email"]), wanted["email"]) and _has_started(row)
        ]
        records = self._records(
            wanted["access_key"], theirs, {name: reference[name] for name in FACTS if name in reference}
        )
        spelled = self._spelling(wanted["access_key"])
        return [Record(record.kind, {**record.body, "access_key": spelled}) for record in records]

    def probe(self) -> str:
        """Log in and read as little as possible. Raises what a round would."""
        self.api.account()
        for key in self._configured:
            self.api.schedule(key)
        keys, more = self._catalogue.first_keys()
        if keys:
            self.api.candidates(keys[0], limit=1)
        return f"logged in; {'more than ' if more else ''}{len(keys)} {'schedule' if len(keys) == 1 else 'schedules'}"

    def _next_place(self, place: Place) -> Place | None:
        """The next schedule. If only the list of schedules is refused, pointers from webhooks are still followed."""
        try:
            return self._catalogue.next_place(place)
        except VendorRefused as problem:
            self._check_account(problem)
            raise VendorFault(f"list of schedules: {clip(problem)}", reason="part_unreadable") from problem

    def _rows(self, place: Place) -> tuple[list[Mapping[str, Any]], Place]:
        """The rows of a page, and the place after it."""
        key = place.access_key
        try:
            answer = self.api.candidates(key, offset=place.offset or 0)
            rows = rows_of(answer, "candidates")
            return rows, after_page(place, rows, more=has_more(answer, "candidates"))
        except NotFound:
            # Deleted since it was listed, or a typo in `options.schedules`: go on with the other schedules.
            _log.error("schedule_not_found", source=self._source, schedule=key)
            return [], place.after_schedule(is_read=True)
        except (VendorUnavailable, VendorRefused, VendorFault) as problem:
            if key not in place.unread and len(place.unread) >= _MOST_UNREAD:
                raise
            self._check_account(problem)
            self._problems[key] = clip(problem)
            _log.error("schedule_unread", source=self._source, schedule=key, problem=str(problem))
            return [], place.after_schedule(is_read=False)

    def _check_account(self, problem: BridgeError) -> None:
        """Return if the account answers, so that `problem` concerns only one schedule; else raise what is wrong."""
        if isinstance(problem, VendorRefused) and problem.reason != NOT_ALLOWED:
            raise problem
        self.api.account()

    def _spelling(self, access_key: str) -> str:
        """An access key as `options.schedules` or the vendor's list spells it: a webhook may spell it differently."""
        configured = (key for key in self._configured if alike(key, access_key))
        return access_key if access_key in self._configured else next(configured, self._names.spelling(access_key))

    def _unread(self, place: Place) -> dict[str, str]:
        return {f"schedule {key}": self._problems.get(key, "still unread") for key in sorted(place.unread)}

    def _records(self, access_key: str, rows: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> list[Record]:
        """Records of rows, completed by the facts of their schedule; facts that a watch already has need no call."""
        if not rows:
            return []
        facts = known if "assessment" in known else {**self._names.facts(access_key), **known}
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
