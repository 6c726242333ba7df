"""Names of schedules and tests. They are optional in results, so no answer to these calls holds a result up.

A result is published without a name that is not known yet. At most one schedule and one page of tests are requested per
page of results; what was learned, and how far the list of tests was read, is remembered between turns. The costs are in
`QUIRKS.md`, section "Reading the list".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import structlog

from bridge.errors import (
    BudgetExhausted,
    Retryable,
    Unreadable,
    VendorFault,
    VendorRefused,
    VendorThrottled,
    VendorUnavailable,
)
from bridge.sdk.spelling import alike, folded_id
from bridge.sdk.vendor import Memory, VendorCalls
from bridge.vendors.mettl.answers import has_more, object_of, rows_of
from bridge.vendors.mettl.api import Api
from bridge.vendors.mettl.schema import load_schedule

__all__ = ["FACTS", "Names", "access_key_of"]

_T = TypeVar("_T")

#: Facts about a schedule, as members of a record and of a watch's reference.
FACTS = ("assessment_id", "assessment", "schedule")
_DAY = 86_400
#: Wait after a failed call, seconds; doubled by each further failure up to the longest.
_FIRST_WAIT, _LONGEST_WAIT = 300.0, 86_400.0
#: Seconds by which the clocks of two processes may differ.
_CLOCKS_DIFFER = 60.0
#: A test that is nowhere in the list is looked for again after this time, seconds, doubled likewise.
_SEARCH_AGAIN = 3600.0
#: Longer names are cut.
_LONGEST_NAME = 300
#: Topics of the memory, each followed by the day: names may change, so they are read again every day.
_SCHEDULES, _TESTS, _WAITS = "schedules", "tests", "waits"
#: In the topic of tests: the offset of the next page of the list.
_NEXT = "next"
#: In the topic of schedules, before an access key in lower case: how the vendor spells it.
_SPELLING = "="
#: What may be wrong with a call for names. `StateUnavailable` and the end of the access are not among them.
_TROUBLES = (BudgetExhausted, VendorThrottled, VendorUnavailable, VendorRefused, VendorFault, Unreadable)

_log = structlog.get_logger(__name__)


class Names:
    """The names of one account. No method raises a vendor error."""

    def __init__(self, api: Api, source: str, calls: VendorCalls) -> None:
        self._api = api
        self._source = source
        self._calls = calls
        #: Facts of schedules that this turn has seen.
        self._seen: dict[str, dict[str, str]] = {}

    @property
    def _memory(self) -> Memory:
        # Not at connecting: a background reader has its calls only while it has access to the source.
        return self._calls.memory

    def learn(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Remember the facts in rows of the list of schedules, which cost no further call."""
        new = {}
        for row in rows:
            key = access_key_of(row)
            if key is not None and key not in self._seen:
                self._seen[key] = _facts_of(row)
                new[key] = json.dumps(self._seen[key], separators=(",", ":"))
                new[_SPELLING + folded_id(key)] = key
        self._memory.remember(self._today(_SCHEDULES), new, seconds=2 * _DAY)

    def facts(self, access_key: str) -> Mapping[str, str]:
        """`schedule` (its name), `assessment_id` and `assessment` (its name), as far as they are known."""
        facts = self._schedule(access_key)
        if "assessment_id" in facts and (name := self._test(facts["assessment_id"])):
            return {**facts, "assessment": name}
        return facts

    def spelling(self, access_key: str) -> str:
        """An access key as the vendor's list spells it, if that part has been read; otherwise unchanged."""
        topic = self._today(_SCHEDULES)
        known = self._memory.recall(topic, [access_key, _SPELLING + folded_id(access_key)])
        return access_key if access_key in known else next(iter(known.values()), access_key)

    def _schedule(self, access_key: str) -> dict[str, str]:
        if access_key not in self._seen:
            stored = self._memory.recall(self._today(_SCHEDULES), [access_key])
            if (known := _stored_facts(stored.get(access_key, ""))) is not None:
                self._seen[access_key] = known
        if access_key not in self._seen:
            what = f"{_SCHEDULES}/{access_key}"
            answer = self._ask(what, lambda: object_of(self._api.schedule(access_key), "schedule"), group=_SCHEDULES)
            if answer is None:
                return {}
            theirs = access_key_of(answer) or access_key
            self.learn([answer] if alike(theirs, access_key) else [])
            self._seen.setdefault(access_key, _facts_of({**answer, "accessKey": access_key}))
            self._stop_waiting(what, _SCHEDULES)
        return self._seen[access_key]

    def _test(self, test_id: str) -> str | None:
        """The name of a test, if it is remembered or on the next page of the list."""
        topic = self._today(_TESTS)
        known = self._memory.recall(topic, [test_id, _NEXT])
        if test_id in known:
            return known[test_id]
        offset = int(known.get(_NEXT, "0"))
        page = self._ask(_TESTS, lambda: self._tests(offset))
        if page is None:
            return None
        rows, more = page
        names = {
            str(row["id"]): str(row["name"])[:_LONGEST_NAME] for row in rows if _is_name(row.get("id"), row.get("name"))
        }
        self._memory.remember(topic, {**names, _NEXT: str(offset + len(rows) if more else 0)}, seconds=2 * _DAY)
        if test_id in names:
            self._stop_waiting(_TESTS)
        elif not more:
            # New tests come first, so the next search begins at the front.
            self._wait(_TESTS, _SEARCH_AGAIN)
        return names.get(test_id)

    def _tests(self, offset: int) -> tuple[list[Mapping[str, Any]], bool]:
        """A page of the list of tests, and whether there is a next one."""
        answer = self._api.assessments(offset=offset)
        return rows_of(answer, "assessments"), has_more(answer, "assessments")

    def _ask(self, what: str, call: Callable[[], _T], *, group: str | None = None) -> _T | None:
        """The answer to a call for names; None if it fails, or failed earlier and is not to be retried yet.

        A failure also delays the other calls of its `group`, until one of them succeeds.
        """
        now, asked = self._api.now(), [what] if group is None else [what, group]
        waits = self._memory.recall(_WAITS, asked)
        if any(_is_waiting(wait, now) for wait in waits.values()):
            return None
        try:
            return call()
        except _TROUBLES as problem:
            retry_at = problem.retry_at if isinstance(problem, Retryable) else None
            for name in asked:
                self._wait(name, _FIRST_WAIT, at_least=retry_at or 0.0)
            _log.warning("names_missing", source=self._source, what=what, problem=str(problem))
            return None

    def _stop_waiting(self, *asked: str) -> None:
        """Forget the failures of these calls."""
        self._memory.remember(
            _WAITS, dict.fromkeys(self._memory.recall(_WAITS, asked), "0 0"), seconds=2 * _LONGEST_WAIT
        )

    def _wait(self, what: str, first: float, *, at_least: float = 0.0) -> None:
        """Make no such call until a wait is over that doubles with each failure; `at_least`: UNIX seconds."""
        before = self._memory.recall(_WAITS, [what]).get(what, "0 0")
        times = int(before.split(" ")[1])
        now = self._api.now()
        until = min(max(now + min(first * 2**times, _LONGEST_WAIT), at_least), now + _LONGEST_WAIT)
        self._memory.remember(_WAITS, {what: f"{until!r} {min(times + 1, 20)} {now!r}"}, seconds=2 * _LONGEST_WAIT)

    def _today(self, topic: str) -> str:
        return f"{topic}:{int(self._api.now()) // _DAY}"


def _is_waiting(wait: str, now: float) -> bool:
    """Whether a stored wait is not over: until when, number of failures, and since when (not in version 0.1)."""
    until, _, *since = wait.split(" ")
    # Since a moment in the future: the clock was set back.
    return float(until) > now >= float(since[0] if since else "-inf") - _CLOCKS_DIFFER


def access_key_of(row: Mapping[str, Any]) -> str | None:
    """The access key in a row of the list of schedules; None if the row has none that can be used."""
    try:
        return load_schedule(row)["accessKey"].strip() or None
    except Unreadable:
        key = row.get("accessKey")
        return key.strip() or None if isinstance(key, str) else None


def _facts_of(row: Mapping[str, Any]) -> dict[str, str]:
    try:
        loaded = load_schedule(row)
    except Unreadable:
        return {}
    told = {"schedule": loaded["name"], "assessment_id": loaded["assessmentId"]}
    return {name: value[:_LONGEST_NAME] for name, value in told.items() if value}


def _stored_facts(text: str) -> dict[str, str] | None:
    """What `learn` has remembered, in any version; None for any other text: the facts are requested again."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict):
        return None
    return {name: value for name, value in facts.items() if name in FACTS and isinstance(value, str)}


def _is_name(test_id: Any, name: Any) -> bool:
    return isinstance(test_id, str | int) and isinstance(name, str) and bool(test_id and name)
