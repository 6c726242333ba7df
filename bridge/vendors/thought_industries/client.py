"""Thought Industries' API: the list of attempts with every documented parameter, and the ping. No results.

Dates are sent in the form of `options.dates`; answers do not show which form a tenant expects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bridge.errors import Unreadable, VendorFault, VendorRefused
from bridge.sdk.strict_json import parse_answer
from bridge.sdk.vendor import Page, Record, SourceFacts, VendorCalls
from bridge.vendors.thought_industries.adapter import ATTEMPT, LONGEST_SITTING, OPEN_STATUSES, wanted_ids
from bridge.vendors.thought_industries.answers import Listing, course_of, moment_of, read_listing, user_of
from bridge.vendors.thought_industries.cursor import Cursor

__all__ = ["PER_PAGE", "Client"]

#: Rows per page. The vendor allows 100, but a row holds its whole course, user and questions: 160 kB with a hundred
#: questions, and an answer must not exceed `bridge.polling.vendor_http.MAX_BODY`.
PER_PAGE = 50
#: Rows created this long before the window, seconds, show that its dates were not understood.
_FILTER_TOLERANCE = 86_400.0
#: How far in the future the window of the probe is, seconds.
_FAR_FUTURE = 10 * 365 * 86_400.0
#: Reason of a refusal that may concern only one user or course.
_NOT_ALLOWED = "not_allowed"
_OTHER_DATES = {"iso": "unix_ms", "unix_ms": "iso"}


class Client:
    """The API of one tenant. Raises the vendor errors of `bridge.errors`, with no addresses or keys in them."""

    def __init__(self, source: SourceFacts, calls: VendorCalls) -> None:
        self._source = source.name
        self._base_url = source.base_url.rstrip("/")
        self._key = source.credentials["api_key"][0]
        self._dates: str = source.options.get("dates", "iso")
        self._users = wanted_ids(source.options, "user_ids")
        self._courses = wanted_ids(source.options, "course_ids")
        self._calls = calls

    def ping(self) -> None:
        """Raise `VendorRefused` unless the vendor accepts the key."""
        content = self._get("ping")
        try:
            answer = parse_answer(content)
        except Unreadable as error:
            raise VendorFault(
                f"source {self._source}: GET ping: {error}. Check base_url", reason="bad_answer"
            ) from error
        if not isinstance(answer, dict) or answer.get("valid") is not True:
            raise VendorRefused(f"source {self._source}: GET ping: the key is not valid. Check api_key")

    def attempts(
        self,
        *,
        start: float | None = None,
        until: float | None = None,
        course_id: str | None = None,
        user_id: str | None = None,
        cursor: str | None = None,
        page: int | None = None,
        per_page: int = PER_PAGE,
    ) -> Listing:
        """One page of attempts created from `start` to `until` (UNIX seconds, inclusive), of a course or user.

        `cursor`: the vendor's, from the previous page. `page`: from 1, the vendor's older paging; not used here.
        """
        wanted = {
            "startDate": self._date(start),
            "endDate": self._date(until),
            "courseId": course_id,
            "userId": user_id,
            "cursor": cursor,
            "page": None if page is None else str(page),
            "perPage": str(per_page),
        }
        params = [(name, value) for name, value in wanted.items() if value is not None]
        path = "assessmentAttempts"
        return read_listing(self._get(path, params), f"source {self._source}: GET {path}")

    def page(self, cursor: str | None) -> Page:
        """One page of all attempts."""
        now = self._calls.now()
        at = Cursor(start=now - LONGEST_SITTING) if cursor is None else Cursor.read(cursor)
        [course, user] = [next(iter(ids)) if len(ids) == 1 else None for ids in (self._courses, self._users)]
        listing = self.attempts(start=at.start, until=at.until, cursor=at.page, course_id=course, user_id=user)
        self._check_progress(at.page, listing)
        created = [moment for row in listing.rows if (moment := moment_of(row, "createdAt")) is not None]
        if created and min(created) < at.start - _FILTER_TOLERANCE:
            raise VendorFault(f"source {self._source}: rows from before the window. {self._dates_remedy()}")
        kept = [row for row in listing.rows if self._is_wanted(row)]
        still_open = [
            moment
            for row in kept
            if _is_open(row) and (moment := moment_of(row, "createdAt")) is not None and moment >= now - LONGEST_SITTING
        ]
        # A creation in the future would hide everything created until then.
        reached = at.after([moment for moment in created if moment <= now], still_open, listing.next_page)
        return Page(records=_records(kept), cursor=str(reached), more=listing.next_page is not None)

    def recheck(self, reference: Mapping[str, str]) -> Sequence[Record]:
        """The attempt of a watch, or all attempts of a user in a course that changed at `since` or later.

        Raises `Unreadable` for a reference that identifies neither, `VendorFault` if only this user or course is
        refused.
        """
        try:
            return self._recheck(reference)
        except VendorRefused as problem:
            if problem.reason != _NOT_ALLOWED:
                raise
            now = self._calls.now()
            self.attempts(start=now, until=now, per_page=1)
            raise VendorFault(
                f"{problem}. Other calls are answered: this user or course is refused", reason="part_unreadable"
            ) from problem

    def _recheck(self, reference: Mapping[str, str]) -> Sequence[Record]:
        user, course, attempt = (reference.get(name) for name in ("user_id", "course_id", "attempt_id"))
        since = float(reference.get("since", 0))
        created = float(reference["created"]) if attempt and not user and "created" in reference else None
        if not (user and (course or attempt)) and created is None:
            raise Unreadable("watch: identifies no attempt. Give user_id and course_id")
        rows, page = [], None
        while True:
            listing = self.attempts(start=created, until=created, user_id=user, course_id=course, cursor=page)
            self._check_progress(page, listing)
            for row in listing.rows:
                if attempt:
                    is_meant = str(row.get("id")).strip().lower() == attempt
                else:
                    changed = moment_of(row, "updatedAt")
                    is_meant = (user_of(row), course_of(row)) == (user, course) and (
                        changed is None or changed >= since
                    )
                if is_meant and self._is_wanted(row):
                    rows.append(row)
            page = listing.next_page
            if page is None or (attempt and rows):
                return _records(rows)

    def probe(self) -> str:
        """Check the key, and that dates are understood: nothing can be created ten years from now.

        Raises `VendorFault` if something was: the filter is not understood, and every round would read everything.
        """
        self.ping()
        later = self._calls.now() + _FAR_FUTURE
        if self.attempts(start=later, until=later + 86_400.0).rows:
            raise VendorFault(f"source {self._source}: attempts created ten years from now. {self._dates_remedy()}")
        return f"the key is valid, and no attempt is in the far future (dates: {self._dates})"

    def _is_wanted(self, row: Mapping[str, object]) -> bool:
        return (not self._users or user_of(row) in self._users) and (
            not self._courses or course_of(row) in self._courses
        )

    def _check_progress(self, asked: str | None, listing: Listing) -> None:
        if listing.next_page is not None and listing.next_page == asked:
            raise VendorFault(f"source {self._source}: GET assessmentAttempts: a page links to itself", reason="loop")

    def _get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> bytes:
        headers = {"authorization": f"Bearer {self._key}", "accept": "application/json"}
        status, _, content = self._calls.request("GET", f"{self._base_url}/{path}", params=params, headers=headers)
        if 200 <= status < 300:
            return content
        where = f"source {self._source}: GET {path}: HTTP {status}"
        if status in (401, 403):
            reason = _NOT_ALLOWED if status == 403 else None
            raise VendorRefused(f"{where}. Check api_key, and that it may read assessment attempts", reason=reason)
        if status in (400, 404, 410, 422) and any(name == "cursor" for name, _ in params):
            raise VendorFault(
                f"{where}. The page cursor is refused and may have expired: the next round starts at its first page",
                reason="bad_cursor",
            )
        if status in (400, 422) and params:
            raise VendorFault(f"{where}. {self._dates_remedy()}")
        raise VendorFault(f"{where}. Check base_url, https://<tenant>.thoughtindustries.com/incoming/v2")

    def _dates_remedy(self) -> str:
        return f"Most likely the dates have the wrong form. Set options.dates to {_OTHER_DATES[self._dates]}"

    def _date(self, moment: float | None) -> str | None:
        if moment is None:
            return None
        milliseconds = round(moment * 1000)
        if self._dates == "unix_ms":
            return str(milliseconds)
        text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")


def _is_open(row: Mapping[str, object]) -> bool:
    # Not text: the adapter reports it.
    status = row.get("status")
    return isinstance(status, str) and status in OPEN_STATUSES


def _records(rows: Sequence[dict[str, object]]) -> list[Record]:
    return [Record(ATTEMPT, row) for row in rows]
