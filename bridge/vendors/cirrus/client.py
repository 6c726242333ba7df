"""Cirrus's API: results by every documented parameter, attempts, schedules, and rechecks of a watch.

Nothing can be listed: what to ask for comes from webhooks and expectations. Results are not interpreted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from bridge.errors import Unreadable, VendorFault, VendorRefused, VendorThrottled, VendorUnavailable
from bridge.sdk.spelling import alike, folded_id
from bridge.sdk.vendor import Pointer, Record, SourceFacts, VendorCalls
from bridge.vendors.cirrus.answers import NOT_ALLOWED, next_reset, read_attempts, read_results, read_schedule
from bridge.vendors.cirrus.attempts import assign, attempt_record, submitted, unassigned
from bridge.vendors.cirrus.identity import BY_ATTEMPT, BY_PAIR, identifier, pointer
from bridge.vendors.cirrus.schema import read_moment

__all__ = ["Client"]

_BASE_PATH = "api/v1/integrations"
#: Member of a reference -> its two names in a result.
_RESULT_NAMES = {"schedule": ("ScheduleExtId", "BookingReference"), "candidate": ("CandidateExtId", "CandidateNumber")}
#: Topic of the memory: schedule and candidate as requested -> as the vendor spells them; how long it is kept, seconds.
_SPELLING, _SPELLING_SECONDS = "spelling", 30 * 86_400.0
#: The same for the id of an attempt, which no answer repeats: folded -> as spelled in the first request that was
#: answered. Kept longer than an attempt is remembered by default.
_ATTEMPT, _ATTEMPT_SECONDS = "attempt", 200 * 86_400.0
#: A candidate that does not exist: the smallest possible request.
_NO_CANDIDATE = "attempt-bridge-probe"


class Client:
    """The API of one environment. Raises the vendor errors of `bridge.errors`, without addresses or tokens in them.

    Every call counts against the day's quota: the vendor counts only `/results`, but asks for fair use of the rest.
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
        """The published results of a candidate, of a candidate in a schedule, or of one attempt.

        Raises `ValueError` without candidate and attempt: the vendor requires one of them.
        """
        if not candidate and not attempt:
            raise ValueError("give candidate or attempt: the vendor lists no results by schedule alone")
        asked = (("CandidateExtId", candidate), ("ScheduleExtId", schedule), ("AttemptExtId", attempt))
        status, body, where = self._get("results", "results", [(name, value) for name, value in asked if value])
        return read_results(status, body, where, self._calls.now())

    def attempts(self, schedule: str, candidate: str) -> list[Mapping[str, Any]]:
        """The attempts that a candidate handed in under a schedule."""
        path = f"external/schedule/{quote(schedule, safe='')}/attempt-info"
        status, body, where = self._get("attempt-info", path, [("CandidateExtId", candidate)])
        return read_attempts(status, body, where, self._calls.now())

    def schedule(self, schedule: str) -> Mapping[str, Any]:
        """The vendor's facts about a schedule; only an empty list `Candidates` if it has no such schedule."""
        status, body, where = self._get("schedule", f"external/schedule/{quote(schedule, safe='')}")
        return read_schedule(status, body, where, self._calls.now())

    def recheck(self, reference: Mapping[str, str]) -> Sequence[Record | Pointer]:
        """The records of one watched attempt as they are now; a schedule or a candidate becomes pointers to attempts.

        Raises `Unreadable` for a reference that identifies neither, and `VendorFault` if only this request is refused.
        """
        try:
            return self._recheck(reference)
        except VendorRefused as problem:
            if problem.reason != NOT_ALLOWED:
                raise
            # The smallest possible request: if it is refused too, the token is the problem.
            self.results(candidate=_NO_CANDIDATE)
            raise VendorFault(
                f"{problem}. Other calls are answered: whatever does not need this one is still published",
                reason="part_unreadable",
            ) from problem

    def probe(self) -> str:
        """Ask for a candidate that does not exist: the token is valid if the answer is "not found"."""
        self.results(candidate=_NO_CANDIDATE)
        return "logged in; results can only be requested by candidate, so none was read"

    def _recheck(self, reference: Mapping[str, str]) -> Sequence[Record | Pointer]:
        asked = {name: text for name, text in reference.items() if text}
        known = {name for name in ("schedule", "candidate", "attempt") if name in asked}
        if not known:
            raise Unreadable("watch: identifies no attempt. Give schedule and candidate, or attempt")
        if known == {"schedule"}:
            return self._candidates(asked["schedule"])
        if known == {"candidate"}:
            return self._schedules(asked["candidate"])
        if "attempt" in known and (self._identity == BY_ATTEMPT or len(known) < 3):
            return self._one_attempt(asked)
        return self._pair(asked, self.results(candidate=asked["candidate"], schedule=asked["schedule"]))

    def _one_attempt(self, asked: Mapping[str, str]) -> Sequence[Record]:
        """The result by the attempt's own id, which answers do not repeat."""
        names = {name: asked.get(name) for name in ("schedule", "candidate", "attempt")}
        rows: Sequence[Mapping[str, Any]] = self.results(**names)
        if len(rows) > 1:
            return [unassigned(asked, f"{len(rows)} results for one attempt", rows, ())]
        learned = _learn(asked, rows)
        if rows and rows[0].get("Status") is None and rows[0].get("Presence") is not False:
            rows = self._with_status(learned, rows)
        if self._identity != BY_ATTEMPT:
            return self._pair(learned, rows) if rows else []
        records = [attempt_record(learned, row=row) for row in rows] or self._handed_in(learned)
        if not records:
            return []
        spelled = self._attempt_spelled(asked["attempt"])
        return [
            Record(item.kind, {**item.body, "asked": {**item.body["asked"], "attempt": spelled}}) for item in records
        ]

    def _attempt_spelled(self, attempt: str) -> str:
        """The id of an existing attempt as it was spelled first, so that an attempt has one id."""
        folded = folded_id(attempt)
        # One topic for each, because a topic is forgotten as a whole.
        topic = f"{_ATTEMPT}:{folded}"
        spelled = self._calls.memory.recall(topic, [folded]).get(folded, attempt)
        self._calls.memory.remember(topic, {folded: spelled}, seconds=_ATTEMPT_SECONDS)
        return spelled

    def _with_status(
        self, learned: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
    ) -> Sequence[Mapping[str, Any]]:
        """The same result requested by schedule and candidate, with its `Status`; unchanged if another comes."""
        if "schedule" not in learned or "candidate" not in learned:
            return rows
        again = self.results(candidate=learned["candidate"], schedule=learned["schedule"])
        return again if [_result(row) for row in again] == [_result(row) for row in rows] else rows

    def _handed_in(self, asked: Mapping[str, str]) -> Sequence[Record]:
        """An attempt without a result, if the candidate handed in no other: attempts are listed without their ids."""
        if "schedule" not in asked or "candidate" not in asked:
            return []
        listed = self.attempts(asked["schedule"], asked["candidate"])
        return self._without_results(asked, listed) if len(listed) == 1 else []

    def _pair(self, asked: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Sequence[Record]:
        """Results by schedule and candidate. The list of attempts is read only if it is needed."""
        if len(rows) > 1:
            rows = [row for row in rows if _is_of(row, asked.get("schedule"))]
        if "schedule" not in asked or "candidate" not in asked or (rows and submitted(rows) == 1):
            return [attempt_record(asked, row=row) for row in rows]
        listed = self.attempts(asked["schedule"], asked["candidate"])
        return assign(asked, rows, listed) if rows else self._without_results(asked, listed)

    def _without_results(self, asked: Mapping[str, str], listed: Sequence[Mapping[str, Any]]) -> Sequence[Record]:
        """What was handed in, under the vendor's spelling of its ids."""
        records = assign(asked, [], listed)
        return assign(self._spelled(asked), [], listed) if records else []

    def _spelled(self, asked: Mapping[str, str]) -> Mapping[str, str]:
        """The request in the vendor's spelling: without a result, only the schedule with its candidates has it.

        If the vendor does not answer that, the spelling stays as it is.
        """
        schedule, candidate = asked["schedule"], asked["candidate"]
        known = self._calls.memory.recall(_SPELLING, [f"{schedule}\x1f{candidate}"])
        for text in known.values():
            schedule, _, candidate = text.partition("\x1f")
            return {**asked, "schedule": schedule, "candidate": candidate}
        try:
            facts = self.schedule(schedule)
        except (VendorUnavailable, VendorRefused, VendorFault):
            return asked
        theirs = [
            identifier(facts.get("ExternalId")),
            *(identifier(candidate.get("ExternalId")) for candidate in facts["Candidates"]),
        ]
        schedule = next((text for text in theirs[:1] if text and alike(text, schedule)), schedule)
        candidate = min((text for text in theirs[1:] if text and alike(text, candidate)), default=candidate)
        fact = {f"{asked['schedule']}\x1f{asked['candidate']}": f"{schedule}\x1f{candidate}"}
        self._calls.memory.remember(_SPELLING, fact, seconds=_SPELLING_SECONDS)
        return {**asked, "schedule": schedule, "candidate": candidate}

    def _candidates(self, schedule: str) -> Sequence[Pointer]:
        """The candidates of a schedule once it has started: until then more may be added."""
        facts = self.schedule(schedule)
        if facts.get("IsActivated") is False or _begins(facts) > self._calls.now():
            return []
        names = [identifier(candidate.get("ExternalId")) for candidate in facts["Candidates"]]
        return self._pointers({"schedule": schedule, "candidate": name} for name in names if name is not None)

    def _schedules(self, candidate: str) -> Sequence[Record | Pointer]:
        """The schedules of a candidate's results: without a schedule, a result does not say whether it was passed."""
        rows = self.results(candidate=candidate)
        references = [_learn({"candidate": candidate}, [row]) for row in rows]
        without_schedule = [
            attempt_record(reference, row=row)
            for reference, row in zip(references, rows, strict=True)
            if "schedule" not in reference
        ]
        return [*self._pointers(reference for reference in references if "schedule" in reference), *without_schedule]

    def _pointers(self, references: Iterable[Mapping[str, str]]) -> list[Pointer]:
        """One pointer for each distinct reference."""
        pointers = [named for reference in references if (named := pointer(reference, self._identity)) is not None]
        return list({named.key: named for named in pointers}.values())

    def _get(self, call: str, path: str, params: Sequence[tuple[str, str]] = ()) -> tuple[int, bytes, str]:
        """Status and body of an answer, and a name of the call for messages: the path holds ids, perhaps personal."""
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


def _learn(asked: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """The identifiers of the request, completed by those in the result."""
    learned = {
        name: text
        for row in rows
        for name, members in _RESULT_NAMES.items()
        for member in members
        if (text := identifier(row.get(member)))
    }
    return {**learned, **asked}


def _is_of(row: Mapping[str, Any], schedule: str | None) -> bool:
    names = (identifier(row.get(name)) for name in _RESULT_NAMES["schedule"])
    return schedule is not None and any(name is not None and alike(name, schedule) for name in names)


def _result(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What identifies a result in either shape."""
    return tuple(str(row.get(name)) for name in ("Score", "MaxScore", "Published"))


def _begins(facts: Mapping[str, Any]) -> float:
    """When a schedule starts, UNIX seconds; 0 if that is missing or unreadable."""
    try:
        begin = read_moment(facts.get("StartDateTime") or "")
    except ValueError:
        return 0.0
    return 0.0 if begin is None else begin.timestamp()
