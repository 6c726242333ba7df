"""Coremetrix' report API: by person, by attempt, in windows, and the names of events. Does not interpret results.

A cursor is the time, UNIX seconds as text, up to which attempts were read. During a round it is followed by `@` and the
start of the next window. While a quiz cannot be read, `!` and the start of the first window without it come last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import structlog

from bridge.errors import (
    BudgetExhausted,
    Unreadable,
    VendorFault,
    VendorRefused,
    VendorThrottled,
    VendorUnavailable,
    clip,
)
from bridge.sdk.strict_json import parse_answer
from bridge.sdk.vendor import Page, Record, SourceFacts, VendorCalls
from bridge.vendors.coremetrix.adapter import quiz_ids
from bridge.vendors.coremetrix.answers import attempt_id, looks_cut_off, moments, newest, person, quiz_id, read_attempts

__all__ = ["WEEK_SECONDS", "WINDOW_SECONDS", "Client", "position", "rewind", "start"]

#: What every round reads again. A window may be a week long, but an answer has no pages: windows of a day keep answers
#: small, and an interrupted round resumes at its last window.
WEEK_SECONDS, WINDOW_SECONDS = 7 * 86_400, 86_400
#: A round's cursor ends at most this far in the past.
QUIET_SECONDS = 2 * 86_400
#: A window is halved while its answer may be cut off, but not below this.
SMALLEST_WINDOW_SECONDS = 3600
#: It is not documented whether a window includes its bounds.
WINDOW_OVERLAP_SECONDS = 60
#: It is not documented which time a window applies to. If it is the start, an attempt is listed earlier than it
#: finished.
LONGEST_SITTING_SECONDS = 86_400

#: Reason of a refusal that may concern only one quiz.
_NOT_ALLOWED = "not_allowed"

_log = structlog.get_logger(__name__)


class Client:
    """The API of one account. Raises the vendor errors of `bridge.errors`, with no addresses or keys in them."""

    def __init__(self, source: SourceFacts, calls: VendorCalls) -> None:
        self._source = source.name
        self._base_url = source.base_url.rstrip("/")
        self._key = source.credentials["api_key"][0]
        self._quiz_ids = quiz_ids(source.options)
        self._include_test = bool(source.options.get("include_test"))
        self._calls = calls
        #: Quiz -> why it could not be read in this turn.
        self._problems: dict[str, str] = {}

    def events(self) -> Sequence[str]:
        """Names of the events that can be subscribed to; empty if the answer is not a list of names."""
        answer = self._get("subscriptions/events")
        listed = answer.get("events") if isinstance(answer, dict) else answer
        return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []

    def by_person(self, custom_id: str) -> Sequence[Record]:
        """The attempts of one person, by the company's own id; empty while the vendor has none."""
        answer = self._get("report/attempts", [("customId", custom_id)], may_be_missing=True)
        # If the vendor ignored the filter, the answer would hold everybody.
        return [record for record in self._read(answer, custom_id) if person(record) == custom_id]

    def by_id(self, wanted: str) -> Record | None:
        """One attempt, without its person; None while the vendor does not know it."""
        answer = self._get(f"report/attempts/{quote(wanted, safe='')}", may_be_missing=True)
        return next((record for record in self._read(answer, None) if attempt_id(record) == wanted), None)

    def batch(self, begin: int, end: int, *, quiz: str | None = None, include_test: bool = False) -> Sequence[Record]:
        """The attempts of a window of at most seven days, UNIX seconds. Test attempts are not marked as such."""
        params = [("from", _iso(begin)), ("to", _iso(end))]
        params += [("quizId", quiz)] if quiz else []
        params += [("includeTest", "true")] if include_test else []
        return self._read(self._get("report/attempts", params), None)

    def probe(self) -> str:
        """Log in and read the least there is."""
        now = int(self._calls.now())
        rows = self.batch(now - SMALLEST_WINDOW_SECONDS, now, include_test=self._include_test)
        try:
            offered = str(len(self.events()))
        except (VendorUnavailable, VendorRefused, VendorFault, VendorThrottled, BudgetExhausted):
            # For the message only: the polled list was read above.
            offered = "unknown"
        return f"{len(rows)} attempts in the last hour, webhook events on offer: {offered}"

    def page(self, cursor: str | None) -> Page:
        """One window from the cursor on."""
        now = int(self._calls.now())
        reached, begin, unread_since = (now - WEEK_SECONDS,) * 2 + (None,) if cursor is None else _places(cursor)
        # If the clock was set back, the window must not end before it begins.
        begin = min(begin, now - SMALLEST_WINDOW_SECONDS)
        try:
            end, records, unread = self._window_from(begin, now)
        except VendorRefused as problem:
            if problem.reason != _NOT_ALLOWED:
                raise
            # Only windows may be refused: attempts that webhooks point to are read by person or id.
            try:
                self.events()
            except VendorRefused:
                raise problem from None
            raise _alone(problem) from problem
        if unread:
            unread_since = begin if unread_since is None else min(unread_since, begin)
        waiting = "" if unread_since is None else f"!{unread_since}"
        named = {f"quiz {quiz}": why for quiz, why in self._problems.items()} if waiting else {}
        reached = max([reached, *(moment for record in records for moment in moments(record) if moment <= now)])
        if end < now:
            following = f"{reached}@{end - WINDOW_OVERLAP_SECONDS}{waiting}"
            return Page(records=records, cursor=following, more=True, unread=named)
        # Not "now": recent attempts may be listed later. Nor far in the past, even if nothing happened for weeks.
        reached = max(reached, now - QUIET_SECONDS)
        return Page(records=records, cursor=f"{reached}{waiting}", more=False, unread=named or _still(waiting))

    def recheck(self, reference: Mapping[str, str]) -> Sequence[Record]:
        """The records of one watched attempt as they are now; empty while the vendor does not know it.

        `attempt_id`: that attempt, of the person `custom_id` if known. Otherwise `custom_id`: the newest attempt at
        `quiz_id`, or at each quiz. `announced`: the attempt of that person that a webhook named, if any. Raises
        `Unreadable` for a reference without either, and `VendorFault` if only this request is refused.
        """
        try:
            return self._recheck(reference)
        except VendorRefused as problem:
            if problem.reason != _NOT_ALLOWED:
                raise
            now = int(self._calls.now())
            self._answers(now - SMALLEST_WINDOW_SECONDS, now)
            raise _alone(problem) from problem

    def _recheck(self, reference: Mapping[str, str]) -> Sequence[Record]:
        wanted, whose = reference.get("attempt_id"), reference.get("custom_id")
        if wanted:
            return self._one(wanted, whose)
        if not whose:
            raise Unreadable("watch: attempt_id and custom_id are both missing. Give one of them")
        listed, announced = self.by_person(whose), reference.get("announced")
        if announced:
            # The pair of person and attempt in a webhook is not signed; the person's own list proves it. Otherwise the
            # attempt decides, or a forged pair could end the watch of another person's attempt.
            records = [record for record in listed if attempt_id(record) == announced] or self._one(announced, None)
            if records:
                return records
        quizzes = (reference["quiz_id"],) if "quiz_id" in reference else self._quiz_ids
        return newest([record for record in listed if not quizzes or quiz_id(record) in quizzes])

    def _one(self, wanted: str, whose: str | None) -> Sequence[Record]:
        record = self.by_id(wanted)
        if record is None:
            return []
        owner = whose or self._owner(record)
        # Without the person we cannot know whether consent was withdrawn; the next recheck or the list has both.
        return [] if owner is None else [Record(record.kind, {**record.body, "customId": owner})]

    def _owner(self, attempt: Record) -> str | None:
        """The person of an attempt, from the window in which it was taken; None if it is not listed there."""
        times = moments(attempt)
        begin = min(times, default=0) - WINDOW_OVERLAP_SECONDS
        end = min(max(times, default=0) + WINDOW_OVERLAP_SECONDS, begin + WEEK_SECONDS, int(self._calls.now()))
        if not times or begin >= end:
            return None
        rows = self.batch(begin, end, quiz=quiz_id(attempt), include_test=self._include_test)
        return next((person(row) for row in rows if attempt_id(row) == attempt_id(attempt)), None)

    def _window_from(self, begin: int, now: int) -> tuple[int, Sequence[Record], bool]:
        """The end of a window, its records, and whether a quiz is missing. The window is halved while its answer looks
        cut off."""
        seconds = min(WINDOW_SECONDS, now - begin)
        while True:
            end = begin + seconds
            answers, unread = self._answers(begin, end)
            suspicious = [len(rows) for rows in answers if looks_cut_off(rows)]
            if suspicious and seconds >= 2 * SMALLEST_WINDOW_SECONDS:
                seconds //= 2
                continue
            if suspicious:
                _log.warning("batch_of_round_size", source=self._source, since=begin, until=end, sizes=suspicious)
            return end, [record for rows in answers for record in rows], unread

    def _answers(self, begin: int, end: int) -> tuple[list[Sequence[Record]], bool]:
        """The answers about each quiz, and whether one is missing. Raises the problem that all of them have."""
        answers: list[Sequence[Record]] = []
        problems: dict[str | None, VendorUnavailable | VendorRefused | VendorFault] = {}
        for quiz in self._quiz_ids or (None,):
            try:
                answers.append(self.batch(begin, end, quiz=quiz, include_test=self._include_test))
            except (VendorUnavailable, VendorRefused, VendorFault) as problem:
                if isinstance(problem, VendorRefused) and problem.reason != _NOT_ALLOWED:
                    raise
                problems[quiz] = problem
        if problems and not answers:
            raise next(iter(problems.values()))
        for quiz, error in problems.items():
            self._problems[str(quiz)] = clip(error)
            _log.error("quiz_unread", source=self._source, quiz=quiz, problem=str(error))
        return answers, bool(problems)

    def _get(self, path: str, params: Sequence[tuple[str, str]] = (), *, may_be_missing: bool = False) -> Any:
        """The JSON of an answer; `{"attempts": []}` for a 404 that only means "not yet"."""
        # Not the whole path: with the id of an attempt every line of the log would differ.
        where = f"source {self._source}: GET {'/'.join(path.split('/')[:2])}"
        # The key comes last, so that a truncated address shows what was requested.
        status, _, content = self._calls.request(
            "GET", f"{self._base_url}/{path}", params=[*params, ("apikey", self._key)]
        )
        if status == 404 and may_be_missing:
            return {"attempts": []}
        if status in (401, 403):
            reason = _NOT_ALLOWED if status == 403 else None
            raise VendorRefused(f"{where}: HTTP {status}. Check base_url and api_key", reason=reason)
        if not 200 <= status < 300:
            raise VendorFault(f"{where}: HTTP {status}. Check base_url; the vendor may require other parameters")
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


def _alone(problem: VendorRefused) -> VendorFault:
    """A refusal that concerns one kind of call, because others are answered."""
    return VendorFault(f"{problem}. Other calls are answered, and still made", reason="part_unreadable")


def start(moment: float, _until: float | None = None) -> str:
    """The cursor for reading what finished at `moment` (UNIX seconds) or later."""
    return str(int(moment) - LONGEST_SITTING_SECONDS)


def rewind(cursor: str, overlap_seconds: float) -> str:
    """The cursor of a new round: at least seven days back, because attempts listed as open may have been finished."""
    reached, _, unread_since = _places(cursor)
    begin = reached - int(max(overlap_seconds, WEEK_SECONDS))
    # The newest time read stays in the cursor, so that a round without anything new does not end earlier than the last
    # one.
    return f"{reached}@{begin if unread_since is None else min(begin, unread_since)}"


def position(cursor: str) -> float:
    """The UNIX seconds that a cursor represents: the start of the next window."""
    return float(_places(cursor)[1])


def _places(cursor: str) -> tuple[int, int, int | None]:
    """The newest time that was read; the start of the next window, the same between two rounds; the start of the first
    window that lacks a quiz."""
    read, _, unread_since = cursor.partition("!")
    reached, _, begin = read.partition("@")
    return int(reached), int(begin or reached), int(unread_since) if unread_since else None


def _still(waiting: str) -> dict[str, str]:
    """What a round that continued in another turn reports about a quiz that an earlier window lacks."""
    return {"a quiz": "still unread"} if waiting else {}


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
