"""Mettl's API: every documented call that reads, signed and sent, with errors turned into ours.

Nothing is written at the vendor: schedules belong to the company, and a deleted result cannot be restored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from bridge.errors import Retryable, VendorFault
from bridge.net.retry_after import http_date
from bridge.sdk.vendor import SourceFacts, VendorCalls
from bridge.vendors.mettl.answers import CLOCK, LIMIT, error_code, read_answer, to_error
from bridge.vendors.mettl.rows import AnswerRow
from bridge.vendors.mettl.signature import sign

__all__ = ["Api"]

#: Characters of a path that are not encoded. The URL is sent encoded and signed unencoded, as existing clients do.
_PLAIN = "@+!$&'()*,;=:~"

_Params = tuple[tuple[str, str], ...]


class Api:
    """The API of one account. Raises the vendor errors of `bridge.errors`, without query, key or e-mail address."""

    def __init__(self, source: SourceFacts, calls: VendorCalls) -> None:
        self._source = source.name
        self._base_url = source.base_url.rstrip("/")
        self._public_key = source.credentials["public_key"][0]
        self._private_key = source.credentials["private_key"][0]
        self._version: str = source.options["api_version"]
        # Serialised once: the signed and the sent bytes must be the same.
        self._ir: _Params = (("ir", _json({"recommendation": True})),) if source.options["recommendation"] else ()
        self._qr: _Params = (("qr", "true"),) if source.options["essays"] else ()
        self._calls = calls
        #: Vendor's clock minus ours, whole seconds; updated when the vendor rejects our time.
        self._skew = 0

    def now(self) -> float:
        """UNIX seconds."""
        return self._calls.now()

    def account(self) -> AnswerRow:
        """The account: the cheapest call that checks both keys."""
        return self._call("account")

    def assessments(
        self, *, offset: int = 0, limit: int = LIMIT, sort: str = "createdAt", order: str = "desc"
    ) -> AnswerRow:
        """A page of tests. `limit` 1 to 100; `sort` createdAt, testTaken or name; `order` asc or desc."""
        return self._call("assessments", _page(offset, limit, sort, order))

    def schedules(self, *, offset: int = 0, limit: int = LIMIT) -> AnswerRow:
        """A page of the account's schedules."""
        return self._call("schedules", _page(offset, limit))

    def schedules_of(self, assessment_id: str, *, criteria: Mapping[str, Any] | None = None) -> AnswerRow:
        """The schedules of one test; `criteria` is the vendor's `filter`."""
        given = (("filter", _json(criteria)),) if criteria else ()
        return self._call(f"assessments/{quote(assessment_id, safe='')}/schedules", given)

    def schedule(self, access_key: str) -> AnswerRow:
        """One schedule."""
        return self._call(f"schedules/{quote(access_key, safe='')}")

    def candidates(
        self, access_key: str, *, offset: int = 0, limit: int = LIMIT, sort: str = "testStartTime", order: str = "desc"
    ) -> AnswerRow:
        """A page of one schedule. `sort` testStartTime or name; `ir` and `qr` by the options of the source."""
        params = (*self._ir, *self._qr, *_page(offset, limit, sort, order))
        return self._call(f"schedules/{quote(access_key, safe='')}/candidates", params)

    def candidate(self, access_key: str, email: str) -> AnswerRow:
        """One person in one schedule."""
        return self._call(f"schedules/{quote(access_key, safe='')}/candidates/", (*self._ir, *self._qr), person=email)

    def sittings_of(self, email: str, *, offset: int = 0, limit: int = LIMIT) -> AnswerRow:
        """Every sitting of one person; only version 3 has pages."""
        pages = _page(offset, limit) if self._version == "v3" else ()
        return self._call("candidates/", (*self._qr, *pages), person=email)

    def _call(self, path: str, params: _Params = (), *, person: str = "") -> AnswerRow:
        """`person`: an e-mail address at the end of the path, which must not appear in messages."""
        where = f"source {self._source}: GET {self._version}/{path}{'…' if person else ''}"
        answer = self._exchange(path, params, person, where)
        code = error_code(answer)
        if code in CLOCK:
            # `_exchange` took the vendor's time from this answer.
            answer = self._exchange(path, params, person, where)
            code = error_code(answer)
        if code is None:
            return answer
        raise to_error(code, answer, where)

    def _exchange(self, path: str, params: _Params, person: str, where: str) -> AnswerRow:
        sent_at = self._calls.now()
        plain = f"{self._base_url}/{self._version}/{path}"
        given = (("ak", self._public_key), *params, ("ts", str(int(sent_at) + self._skew)))
        asgn = sign("GET", plain + person, given, private_key=self._private_key, version=self._version)
        url = plain + quote(person, safe=_PLAIN)
        try:
            status, headers, content = self._calls.request("GET", url, params=(*given, ("asgn", asgn)))
        except (Retryable, VendorFault) as problem:
            if not person:
                raise
            raise _without_person(problem, urlsplit(url).path, path) from None
        answer = read_answer(status, content, where)
        if error_code(answer) in CLOCK:
            self._skew = _seconds_ahead(headers.get("date", ""), sent_at)
        return answer


def _page(offset: int, limit: int, sort: str = "", order: str = "") -> _Params:
    sorting = (("sort", sort), ("sort_order", order)) if sort else ()
    return (("limit", str(limit)), ("offset", str(offset)), *sorting)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _seconds_ahead(date: str, now: float) -> int:
    """How far the vendor's clock, the `date` header, is ahead of ours; 0 if there is no readable header."""
    moment = http_date(date)
    return 0 if moment is None else round(moment - now)


def _without_person(problem: Retryable | VendorFault, path: str, shown: str) -> Retryable | VendorFault:
    """The same error without the e-mail address: the transport's message contains the path of the call."""
    text = str(problem).replace(path, f"/{shown}…")
    if isinstance(problem, Retryable):
        return type(problem)(text, reason=problem.reason, retry_at=problem.retry_at)
    return type(problem)(text, reason=problem.reason)
