"""Coremetrix' report API: by person, by attempt, in windows, and the names of events. Results mean nothing in here.

A cursor is UNIX seconds as text: up to where attempts were read. Inside a round `@` and where the next window begins
follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import structlog

from bridge.errors import Unreadable, VendorFault, VendorRefused, VendorUnavailable
from bridge.sdk.strict_json import parse_answer
from bridge.sdk.vendor import Page, Record, SourceFacts, VendorCalls
from bridge.vendors.coremetrix.adapter import quiz_ids
from bridge.vendors.coremetrix.answers import attempt_id, is_round, moments, newest, person, quiz_id, read_attempts

__all__ = ["WEEK_SECONDS", "WINDOW_SECONDS", "Client", "position", "rewind", "start"]

#: What every round reads again. A window may be as long, but an answer has no pages: windows of a day keep answers
#: small, and a round that is cut short goes on where it was.
WEEK_SECONDS, WINDOW_SECONDS = 7 * 86_400, 86_400
#: A round ends no farther behind than this, whatever it found.
QUIET_SECONDS = 2 * 86_400
#: Down to this one, a window is halved while its answer cannot be trusted.
SMALLEST_WINDOW_SECONDS = 3600
#: Whether the bounds belong to a window is not said.
WINDOW_OVERLAP_SECONDS = 60
#: Which time a window selects is not said. Where it is the beginning, whoever finished at a moment began before it.
LONGEST_SITTING_SECONDS = 86_400

_log = structlog.get_logger(__name__)


class Client:
    """The API of one account. Raises the vendor errors of `bridge.errors`; no address or key stands in them."""

    def __init__(self, source: SourceFacts, calls: VendorCalls) -> None:
        self._source = source.name
        self._base_url = source.base_url.rstrip("/")
        self._key = source.credentials["api_key"][0]
        self._quiz_ids = quiz_ids(source.options)
        self._include_test = bool(source.options.get("include_test"))
        self._calls = calls

    def events(self) -> Sequence[str]:
        """Names of the events that can be subscribed to; none where the answer is no list of names."""
        answer = self._get("subscriptions/events")
        listed = answer.get("events") if isinstance(answer, dict) else answer
        return [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []

    def by_person(self, custom_id: str) -> Sequence[Record]:
        """The attempts of one person, by the company's own id; empty while the vendor knows none."""
        answer = self._get("report/attempts", [("customId", custom_id)], may_be_missing=True)
        # A filter that the vendor did not understand would give us everybody.
        return [one for one in self._read(answer, custom_id) if person(one) == custom_id]

    def by_id(self, wanted: str) -> Record | None:
        """One attempt, which does not say whose it is; None while the vendor does not know it."""
        answer = self._get(f"report/attempts/{quote(wanted, safe='')}", may_be_missing=True)
        return next((one for one in self._read(answer, None) if attempt_id(one) == wanted), None)

    def batch(self, begin: int, end: int, *, quiz: str | None = None, include_test: bool = False) -> Sequence[Record]:
        """The attempts of a window of at most seven days, UNIX seconds. Test attempts do not say that they are such."""
        params = [("from", _iso(begin)), ("to", _iso(end))]
        params += [("quizId", quiz)] if quiz else []
        params += [("includeTest", "true")] if include_test else []
        return self._read(self._get("report/attempts", params), None)

    def probe(self) -> str:
        """Log in and read the least there is."""
        now = int(self._calls.now())
        rows = self.batch(now - SMALLEST_WINDOW_SECONDS, now, include_test=self._include_test)
        return f"{len(rows)} attempts in the last hour, {len(self.events())} webhook events on offer"

    def page(self, cursor: str | None) -> Page:
        """One window from the cursor on, for the poll engine."""
        now = int(self._calls.now())
        reached, begin = (now - WEEK_SECONDS,) * 2 if cursor is None else _places(cursor)
        # A clock that was put back must not ask for a window that ends before it begins.
        begin = min(begin, now - SMALLEST_WINDOW_SECONDS)
        end, records = self._window_from(begin, now)
        reached = max([reached, *(moment for one in records for moment in moments(one) if moment <= now)])
        if end < now:
            return Page(records=records, cursor=f"{reached}@{end - WINDOW_OVERLAP_SECONDS}", more=True)
        # Never "now", what happened until now may be listed later; nor far behind it, where nothing happens for weeks.
        return Page(records=records, cursor=str(max(reached, now - QUIET_SECONDS)), more=False)

    def recheck(self, reference: Mapping[str, str]) -> Sequence[Record]:
        """The records of one watched attempt as they are now; empty while the vendor does not know it.

        `attempt_id`: that one, `custom_id` is then the known owner. Otherwise `custom_id`: the newest at `quiz_id`, or
        at each quiz. `announced`: the attempt of that person that a webhook named, if there is one.
        """
        wanted, whose = reference.get("attempt_id"), reference.get("custom_id")
        if wanted:
            return self._one(wanted, whose)
        if not whose:
            raise Unreadable("watch: attempt_id and custom_id are both missing. Give one of them")
        listed, announced = self.by_person(whose), reference.get("announced")
        if announced:
            # Nobody signs for the pair of person and attempt in a webhook: the person's own list proves it. Otherwise
            # the attempt decides, or a forged pair could close the watch of somebody else's attempt.
            found = [one for one in listed if attempt_id(one) == announced] or self._one(announced, None)
            if found:
                return found
        quizzes = (reference["quiz_id"],) if "quiz_id" in reference else self._quiz_ids
        return newest([one for one in listed if not quizzes or quiz_id(one) in quizzes])

    def _one(self, wanted: str, whose: str | None) -> Sequence[Record]:
        found = self.by_id(wanted)
        if found is None:
            return []
        owner = whose or self._owner(found)
        # Without its person nobody could tell whether consent was withdrawn: the next look, or the list, has both.
        return [] if owner is None else [Record(found.kind, {**found.body, "customId": owner})]

    def _owner(self, attempt: Record) -> str | None:
        """Who sat an attempt, out of the window in which it was sat; None if it is not listed there."""
        times = moments(attempt)
        begin = min(times, default=0) - WINDOW_OVERLAP_SECONDS
        end = min(max(times, default=0) + WINDOW_OVERLAP_SECONDS, begin + WEEK_SECONDS, int(self._calls.now()))
        if not times or begin >= end:
            return None
        rows = self.batch(begin, end, quiz=quiz_id(attempt), include_test=self._include_test)
        return next((person(one) for one in rows if attempt_id(one) == attempt_id(attempt)), None)

    def _window_from(self, begin: int, now: int) -> tuple[int, Sequence[Record]]:
        """Where a window ends, and what is in it. It is halved while its size looks like the end of a page."""
        seconds = min(WINDOW_SECONDS, now - begin)
        while True:
            end = begin + seconds
            answers = [
                self.batch(begin, end, quiz=quiz, include_test=self._include_test) for quiz in self._quiz_ids or (None,)
            ]
            suspicious = [len(rows) for rows in answers if is_round(rows)]
            if suspicious and seconds >= 2 * SMALLEST_WINDOW_SECONDS:
                seconds //= 2
                continue
            if suspicious:
                _log.warning("batch_of_round_size", source=self._source, since=begin, until=end, sizes=suspicious)
            return end, [one for rows in answers for one in rows]

    def _get(self, path: str, params: Sequence[tuple[str, str]] = (), *, may_be_missing: bool = False) -> Any:
        """The JSON of an answer; `{"attempts": []}` for 404 where that only says "not yet"."""
        # Not the whole path: the id of an attempt would make every line of the log another one.
        where = f"source {self._source}: GET {'/'.join(path.split('/')[:2])}"
        # The key comes last, so that a cut address shows what was asked for.
        status, _, content = self._calls.request(
            "GET", f"{self._base_url}/{path}", params=[*params, ("apikey", self._key)]
        )
        if status == 404 and may_be_missing:
            return {"attempts": []}
        if status in (401, 403):
            raise VendorRefused(f"{where}: HTTP {status}. Check base_url and api_key")
        if not 200 <= status < 300:
            raise VendorFault(f"{where}: HTTP {status}. Check base_url, or the vendor wants other parameters")
        try:
            return parse_answer(content)
        except Unreadable as error:
            raise VendorUnavailable(f"{where}: {error}. Retried later", reason="bad_answer") from error

    def _read(self, answer: Any, asked: str | None) -> list[Record]:
        try:
            return read_attempts(answer, asked)
        except Unreadable as error:
            raise VendorUnavailable(
                f"source {self._source}: report/attempts: {error}. Retried later", reason="bad_answer"
            ) from error


def start(moment: float, _until: float | None = None) -> str:
    """The cursor for reading what finished from a moment on."""
    return str(int(moment) - LONGEST_SITTING_SECONDS)


def rewind(cursor: str, overlap_seconds: float) -> str:
    """The cursor of a new round: at least seven days back, because an attempt that was listed open may be finished."""
    return str(_places(cursor)[0] - int(max(overlap_seconds, WEEK_SECONDS)))


def position(cursor: str) -> float:
    """The UNIX seconds a cursor stands for: where the next window begins."""
    return float(_places(cursor)[1])


def _places(cursor: str) -> tuple[int, int]:
    """The newest time that was read, and where the next window begins: the same between two rounds."""
    reached, _, begin = cursor.partition("@")
    return int(reached), int(begin or reached)


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
