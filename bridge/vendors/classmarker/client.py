"""ClassMarker's API: every documented call for results, catalogue and access lists. Does not interpret results.

Cursors are UNIX seconds as text. For the next page of a round see `_next_cursor`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import structlog

from bridge.errors import BudgetExhausted, VendorFault, VendorRefused
from bridge.sdk.compiled_schema import WholeNumber
from bridge.sdk.vendor import Page, Record, Resume, SourceFacts, VendorCalls
from bridge.vendors.classmarker.adapter import GROUPS, LINKS, UNLISTED
from bridge.vendors.classmarker.answers import (
    LOOK_BACK_EXCEEDED,
    OUT_OF_STEP,
    error_code,
    names_of,
    read_answer,
    rows_of,
    to_error,
    whole_number,
)
from bridge.vendors.classmarker.reference import READ_UNTIL, is_wanted, resume_from, wanted_attempt
from bridge.vendors.classmarker.rows import AnswerRow

__all__ = ["LOOK_BACK_SECONDS", "Client", "position", "rewind", "start"]

#: Three months are never shorter; the API refuses anything older.
LOOK_BACK_SECONDS = 89 * 86_400.0
#: It is not documented whether "finished after" includes its second, so every round goes back at least this far.
MIN_OVERLAP_SECONDS = 60.0
#: Results may be listed this long after others that finished later.
_LISTED_LATE_SECONDS = 3600
CODES_PER_CALL, CODE_LENGTH = 100, 255
#: Path of the list of groups, links and tests.
_CATALOGUE = "v1"
#: Stream -> the vendor's noun for its groups or links.
_PLACES = {GROUPS: "group", LINKS: "link"}

_log = structlog.get_logger(__name__)


class Client:
    """The API of one account. Raises the vendor errors of `bridge.errors`, with no addresses or secrets in them."""

    def __init__(self, source: SourceFacts, calls: VendorCalls) -> None:
        self._source = source.name
        self._base_url = source.base_url.rstrip("/")
        self._key = source.credentials["api_key"][0]
        self._secret = source.credentials["api_secret"][0]
        self._digest: str = source.options.get("signature", "sha256")
        self._form: str = source.options.get("format", "json")
        self._calls = calls
        #: Vendor's clock minus ours, whole seconds; updated by every answer.
        self._skew = 0

    def catalogue(self) -> AnswerRow:
        """Groups, links and tests that the key may see, in members `groups`, `links` and `tests`, not parsed."""
        return self._call("GET", _CATALOGUE)

    def recent_results(
        self, stream: str, after: int | None, *, place: str | None = None, test: str | None = None
    ) -> AnswerRow:
        """The envelope of one page of `groups` or `links` finished after UNIX seconds (None: the last two weeks).

        `place` and `test` narrow it to one test in one group or behind one link.
        """
        path = f"v1/{stream}/{place}/tests/{test}/recent_results" if place and test else f"v1/{stream}/recent_results"
        if after is None:
            return self._call("GET", path)
        earliest = int(self._now() - LOOK_BACK_SECONDS) + 60
        if after < earliest:
            _log.warning("look_back_exceeded", source=self._source, stream=stream, wanted=after, used=earliest)
            after = earliest
        try:
            return self._call("GET", path, (("finishedAfterTimestamp", str(after)),))
        except _TooEarly:
            # The vendor itself suggests omitting the parameter: two weeks are better than nothing.
            _log.warning("look_back_exceeded", source=self._source, stream=stream, wanted=after, used=None)
            return self._call("GET", path)

    def page(self, stream: str, cursor: str | None) -> Page:
        """One page of a stream."""
        asked = None if cursor is None else int(cursor)
        return self._page(stream, asked, self.recent_results(stream, asked))

    def add_codes(self, list_id: int, codes: Sequence[str]) -> int:
        """Add access codes to a list, 100 per call; exempt from the quota. Returns the number of codes in the list."""
        return self._change_codes("POST", list_id, codes)

    def remove_codes(self, list_id: int, codes: Sequence[str]) -> int:
        """Remove access codes from a list, likewise."""
        return self._change_codes("DELETE", list_id, codes)

    def recheck(self, reference: Mapping[str, str]) -> Sequence[Record | Resume]:
        """The records of one watched attempt as they are now; none while the vendor does not list it.

        If the list is longer than the remaining calls allow, the next recheck continues where this one stopped. Raises
        `Unreadable` for a reference that identifies none.
        """
        stream, wanted = wanted_attempt(reference)
        place, test = reference.get(reference["stream"]), reference.get("test")
        since = reference.get("finished") or reference.get("started")
        first = None if since is None else int(since) - 1
        after, pages = int(reference[READ_UNTIL]) if READ_UNTIL in reference else first, 0
        while True:
            try:
                page = self._page(stream, after, self.recent_results(stream, after, place=place, test=test))
            except BudgetExhausted:
                if not pages:
                    raise
                return [resume_from(reference, after)]
            pages += 1
            records = [record for record in page.records if is_wanted(record, wanted)]
            if records:
                return records
            if page.cursor is not None:
                after = int(page.cursor)
            if not page.more or page.cursor is None:
                # A known finish is requested again: the row may be listed late, and an ungraded one stays there.
                return [resume_from(reference, None if since or after is None else after - _LISTED_LATE_SECONDS)]

    def _page(self, stream: str, asked: int | None, answer: AnswerRow) -> Page:
        records = _records(stream, answer)
        more, limit = bool(answer["more_results_exist"]), whole_number(answer["server_timestamp"]) or int(self._now())
        finishes = _finishes(records, limit)
        if not finishes:
            if more:
                raise VendorFault(f"{stream}: more results announced, but no listed row has a time", reason="loop")
            return Page(records=records, cursor=None, more=False)
        cursor, lost_second = _next_cursor(asked, finishes, more=more)
        if lost_second is not None:
            problem = (
                f"{stream}: more than {len(records)} results finished in second {lost_second}, and no more are listed. "
                "Compare that second with the vendor's own report"
            )
            _log.error("second_overflows", source=self._source, stream=stream, second=lost_second)
            records = [*records, Record(UNLISTED, {"problem": problem})]
        return Page(records=records, cursor=str(cursor), more=more)

    def _change_codes(self, method: str, list_id: int, codes: Sequence[str]) -> int:
        for code in codes:
            if not 0 < len(code) <= CODE_LENGTH:
                raise ValueError(f"access code: has {len(code)} characters, 1 to {CODE_LENGTH} are allowed")
        total = 0
        for first in range(0, len(codes), CODES_PER_CALL):
            body = json.dumps(list(codes[first : first + CODES_PER_CALL])).encode()
            answer = self._call(method, f"v1/accesslists/{int(list_id)}", body=body)
            listed = answer["access_lists"]
            facts = listed.get("access_list") if isinstance(listed, dict) else None
            total = (whole_number(facts.get("num_codes_total")) if isinstance(facts, dict) else None) or 0
        return total

    def _call(
        self, method: str, path: str, params: tuple[tuple[str, str], ...] = (), *, body: bytes | None = None
    ) -> AnswerRow:
        where = f"source {self._source}: {method} {path}"
        answer = self._exchange(method, path, params, body, where)
        code = error_code(answer)
        if code == OUT_OF_STEP:
            # `_exchange` took the vendor's time from this answer.
            answer = self._exchange(method, path, params, body, where)
            code = error_code(answer)
        if code is None:
            return answer
        if code == LOOK_BACK_EXCEEDED and params:
            raise _TooEarly
        raise to_error(code, answer, where)

    def _exchange(
        self, method: str, path: str, params: tuple[tuple[str, str], ...], body: bytes | None, where: str
    ) -> AnswerRow:
        sent_at = self._calls.now()
        status, _, content = self._calls.request(
            method,
            f"{self._base_url}/{path}.{self._form}",
            params=(*self._credentials(sent_at), *params),
            headers={"content-type": "application/json; charset=utf-8"} if body is not None else None,
            body=body,
            free=body is not None,
        )
        if status == 403 and path != _CATALOGUE:
            # Raises if the key itself is refused; otherwise it is about these groups or links.
            self.catalogue()
            raise VendorFault(f"{where}: HTTP 403. Allow the key to see them at the vendor", reason="not_permitted")
        if status in (401, 403):
            raise VendorRefused(f"{where}: HTTP {status}. Check base_url, api_key and api_secret")
        if not 200 <= status < 300:
            raise VendorFault(f"{where}: HTTP {status}. Check base_url")
        answer = read_answer(content, self._form, where)
        theirs = whole_number(answer["server_timestamp"])
        if theirs is not None:
            self._skew = theirs - int(sent_at)
        return answer

    def _credentials(self, moment: float) -> tuple[tuple[str, str], ...]:
        # Read the clock once for both: the vendor's own sample reads it twice and sometimes fails.
        timestamp = str(int(moment) + self._skew)
        text = f"{self._key}{self._secret}{timestamp}".encode()
        signature = hashlib.new(self._digest, text).hexdigest()
        return (("api_key", self._key), ("signature", signature), ("timestamp", timestamp))

    def _now(self) -> float:
        return self._calls.now() + self._skew


class _TooEarly(Exception):
    """The look-back was refused; handled by the caller."""


def start(moment: float, _until: float | None = None) -> str:
    """The cursor that lists what finished at `moment` (UNIX seconds) or later; the API has no upper limit."""
    return str(int(moment) - 1)


def rewind(cursor: str, overlap_seconds: float) -> str:
    """The cursor of a new round: at least a minute back."""
    return str(int(cursor) - int(max(overlap_seconds, MIN_OVERLAP_SECONDS)))


def position(cursor: str) -> float:
    """The UNIX seconds that a cursor represents."""
    return float(cursor)


def _next_cursor(asked: int | None, finishes: Sequence[int], *, more: bool) -> tuple[int, int | None]:
    """The next cursor, and the second that cannot be listed in full, if there is one.

    It follows the rows, not `next_finished_after_timestamp`, which may be before the newest row (no progress) or in the
    same second as rows that did not fit on the page (loss). So the last second is requested again; its rows are dropped
    as already published. A row in exactly the requested second proves that "after" includes it.
    """
    oldest, newest = min(finishes), max(finishes)
    if asked is None:
        asked = oldest - 1
    if newest < asked:
        raise VendorFault(f"rows end at {newest}, before {asked}, which was asked for", reason="loop")
    if not more:
        return newest, None
    again = newest if oldest == asked else newest - 1
    if again > asked:
        return again, None
    return max(newest, asked + 1), newest


def _records(stream: str, answer: AnswerRow) -> list[Record]:
    """Rows in the form of webhooks: names and ids of test and of group or link are outside the result."""
    place = _PLACES[stream]
    tests = names_of(answer["tests"], "test")
    places = names_of(answer["groups"] if stream == GROUPS else answer["links"], place)
    records = []
    for item in rows_of(answer):
        # What is not a row becomes an empty one, which is quarantined: something is wrong with a result.
        row = item.get("result") if isinstance(item, dict) else None
        row = row if isinstance(row, dict) else {}
        test_id, place_id = row.get("test_id"), row.get(f"{place}_id")
        body = {
            "test": {"test_id": test_id, "test_name": tests.get(str(test_id))},
            place: {f"{place}_id": place_id, f"{place}_name": places.get(str(place_id))},
            "result": row,
        }
        records.append(Record(stream, body))
    return records


def _finishes(records: Sequence[Record], limit: int) -> list[int]:
    """The finishes that a cursor may follow, UNIX seconds; a future one would hide whatever finishes until then.

    Rows without a readable finish are skipped: the adapter reports them.
    """
    finishes = []
    for record in records:
        try:
            moment = WholeNumber.convert(record.body["result"].get("time_finished", ""))
        except ValueError:
            continue
        if moment is not None and moment <= limit:
            finishes.append(moment)
    return finishes
