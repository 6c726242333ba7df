"""Cirrus's API: results by every documented parameter, attempts, schedules, and what a watch asks of them.

Nothing can be listed: what to ask comes from webhooks and from what operators expect. Results mean nothing in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from bridge.errors import Unreadable, VendorThrottled
from bridge.sdk.vendor import Pointer, Record, SourceFacts, VendorCalls
from bridge.vendors.cirrus.answers import next_reset, read_attempts, read_results, read_schedule
from bridge.vendors.cirrus.attempts import assign, found, submitted, unassigned
from bridge.vendors.cirrus.identity import BY_ATTEMPT, BY_PAIR, identifier, pointer
from bridge.vendors.cirrus.schema import IsoTime

__all__ = ["Client", "probe", "recheck"]

_BASE_PATH = "api/v1/integrations"
#: Member of a reference -> its names in a result, of which one is there.
_PLACES = {"schedule": ("ScheduleExtId", "BookingReference"), "candidate": ("CandidateExtId", "CandidateNumber")}
#: A candidate that no company has: the least that can be asked.
_NOBODY = "attempt-bridge-probe"


class Client:
    """The API of one environment. Raises the vendor errors of `bridge.errors`; no address or token stands in them.

    Every call costs one of the day: the vendor counts `/results` only, but asks for fair use of all of it.
    """

    def __init__(self, source: SourceFacts, calls: VendorCalls) -> None:
        self._source = source.name
        self._base_url = f"{source.base_url.rstrip('/').removesuffix(_BASE_PATH).rstrip('/')}/{_BASE_PATH}"
        self._headers = {
            "authorization": f"EAPI {source.credentials['token'][0]}",
            "content-type": "application/json",
        }
        self._identity: str = source.options.get("identity", BY_PAIR)
        self._calls = calls

    def results(
        self, *, candidate: str | None = None, schedule: str | None = None, attempt: str | None = None
    ) -> list[Mapping[str, Any]]:
        """The published results of a candidate, of a candidate in a schedule, or of one attempt; empty if none.

        Raises `ValueError` without candidate and attempt: the vendor demands one of them.
        """
        if not candidate and not attempt:
            raise ValueError("give candidate or attempt: the vendor lists no results by schedule alone")
        asked = (("CandidateExtId", candidate), ("ScheduleExtId", schedule), ("AttemptExtId", attempt))
        status, body, where = self._get("results", "results", [(name, value) for name, value in asked if value])
        return read_results(status, body, where, self._calls.now())

    def attempts(self, schedule: str, candidate: str) -> list[Mapping[str, Any]]:
        """The attempts of a candidate in a schedule, only those handed in; empty before that."""
        path = f"external/schedule/{quote(schedule, safe='')}/attempt-info"
        status, body, where = self._get("attempt-info", path, [("CandidateExtId", candidate)])
        return read_attempts(status, body, where, self._calls.now())

    def schedule(self, schedule: str) -> Mapping[str, Any]:
        """What the vendor says about a schedule, `Candidates` always a list; nothing else if it knows none."""
        status, body, where = self._get("schedule", f"external/schedule/{quote(schedule, safe='')}")
        return read_schedule(status, body, where, self._calls.now())

    def look(self, reference: Mapping[str, str]) -> Sequence[Record | Pointer]:
        """What there is now about one watched attempt; a schedule or a candidate becomes pointers to single ones."""
        asked = {name: text for name, text in reference.items() if text}
        known = {name for name in ("schedule", "candidate", "attempt") if name in asked}
        if not known:
            raise Unreadable("watch: give schedule and candidate, or attempt")
        if known == {"schedule"}:
            return self._candidates(asked["schedule"])
        if known == {"candidate"}:
            return self._schedules(asked["candidate"])
        if "attempt" in known and (self._identity == BY_ATTEMPT or len(known) < 3):
            return self._one_attempt(asked)
        return self._pair(asked, self.results(candidate=asked["candidate"], schedule=asked["schedule"]))

    def _one_attempt(self, asked: Mapping[str, str]) -> Sequence[Record]:
        """By the attempt's own id, which no answer repeats."""
        names = {name: asked.get(name) for name in ("schedule", "candidate", "attempt")}
        rows: Sequence[Mapping[str, Any]] = self.results(**names)
        if len(rows) > 1:
            return [unassigned(asked, f"{len(rows)} results for one attempt", rows, ())]
        learned = _learn(asked, rows)
        if rows and rows[0].get("Status") is None and rows[0].get("Presence") is not False:
            rows = self._with_status(learned, rows)
        if self._identity == BY_ATTEMPT:
            return [found(learned, row=row) for row in rows] or self._handed_in(learned)
        return self._pair(learned, rows) if rows else []

    def _with_status(
        self, learned: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
    ) -> Sequence[Mapping[str, Any]]:
        """The same result by schedule and candidate, which brings its `Status`; as it was if another one comes."""
        if "schedule" not in learned or "candidate" not in learned:
            return rows
        again = self.results(candidate=learned["candidate"], schedule=learned["schedule"])
        return again if [_result(row) for row in again] == [_result(row) for row in rows] else rows

    def _handed_in(self, asked: Mapping[str, str]) -> Sequence[Record]:
        """An attempt without a result, if it is the only one that the candidate handed in: their ids are not listed."""
        if "schedule" not in asked or "candidate" not in asked:
            return []
        listed = self.attempts(asked["schedule"], asked["candidate"])
        return assign(asked, [], listed) if len(listed) == 1 else []

    def _pair(self, asked: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Sequence[Record]:
        """By schedule and candidate. The list of attempts is asked for only where it adds something."""
        if len(rows) > 1:
            rows = [row for row in rows if asked.get("schedule") in (row.get(name) for name in _PLACES["schedule"])]
        if "schedule" not in asked or "candidate" not in asked or (rows and submitted(rows) == 1):
            return [found(asked, row=row) for row in rows]
        return assign(asked, rows, self.attempts(asked["schedule"], asked["candidate"]))

    def _candidates(self, schedule: str) -> Sequence[Pointer]:
        """The candidates of a schedule, once it has begun: until then more may be added."""
        facts = self.schedule(schedule)
        if facts.get("IsActivated") is False or _begins(facts) > self._calls.now():
            return []
        names = [identifier(one.get("ExternalId")) for one in facts["Candidates"]]
        return self._pointers({"schedule": schedule, "candidate": name} for name in names if name is not None)

    def _schedules(self, candidate: str) -> Sequence[Record | Pointer]:
        """The schedules of a candidate's results: asked without one, a result does not say whether it is passed."""
        rows = self.results(candidate=candidate)
        learned = [_learn({"candidate": candidate}, [row]) for row in rows]
        nameless = [found(one, row=row) for one, row in zip(learned, rows, strict=True) if "schedule" not in one]
        return [*self._pointers(one for one in learned if "schedule" in one), *nameless]

    def _pointers(self, references: Iterable[Mapping[str, str]]) -> list[Pointer]:
        """One pointer for each reference, however often it comes."""
        pointers = [where for reference in references if (where := pointer(reference, self._identity)) is not None]
        return list({where.key: where for where in pointers}.values())

    def _get(self, call: str, path: str, params: Sequence[tuple[str, str]] = ()) -> tuple[int, bytes, str]:
        """Status and body of an answer, and which call it was for messages: a path holds ids, which may be personal."""
        where = f"source {self._source}: {call}"
        try:
            status, _, body = self._calls.request(
                "GET", f"{self._base_url}/{path}", params=params, headers=self._headers
            )
        except VendorThrottled as error:
            if error.retry_at is not None:
                raise
            raise VendorThrottled(f"{where}: {error}", retry_at=next_reset(self._calls.now())) from error
        return status, body, where


def recheck(client: Client, reference: Mapping[str, str]) -> Sequence[Record | Pointer]:
    """What there is now about one watched attempt. Raises `Unreadable` for a reference that names none."""
    return client.look(reference)


def probe(client: Client) -> str:
    """Asks for a candidate whom nobody has: the token is good when the answer is "no such candidate"."""
    client.results(candidate=_NOBODY)
    return "logged in; results can be asked for by candidate only, so none was read"


def _learn(asked: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """What we asked with, completed by the names that the result has."""
    told = {
        name: text
        for row in rows
        for name, members in _PLACES.items()
        for one in members
        if (text := identifier(row.get(one)))
    }
    return {**told, **asked}


def _result(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What two answers about one result have in common, whatever their shape."""
    return tuple(str(row.get(name)) for name in ("Score", "MaxScore", "Published"))


def _begins(facts: Mapping[str, Any]) -> float:
    """When a schedule begins, UNIX seconds; 0 where it does not say readably."""
    try:
        begin = IsoTime.convert(facts.get("StartDateTime") or "")
    except ValueError:
        return 0.0
    return 0.0 if begin is None else begin.timestamp()
