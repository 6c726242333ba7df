"""Normalises what the client read about an attempt. Pure; the reasons are in `QUIRKS.md`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bridge.errors import Unreadable, clip
from bridge.sdk.odd_results import odd_flags
from bridge.sdk.spelling import alike
from bridge.sdk.vendor import NormalisedAttempt, Record, Watch
from bridge.vendors.cirrus.attempt_state import HANDED_IN, AttemptState, attempt_state, folded
from bridge.vendors.cirrus.identity import BY_PAIR, aliases, attempt_id
from bridge.vendors.cirrus.rows import AskedRow, AttemptRow, ResultRow
from bridge.vendors.cirrus.schema import load_record
from schemas.event import Assessment, Candidate, Group, Result, Section, format_time

__all__ = ["ASSIGNED", "UNASSIGNED", "normalise"]

#: Kinds of records, also in quarantine: the result of one attempt; a result that could not be assigned to one.
ASSIGNED, UNASSIGNED = "found", "unassigned"
_DAY = 86_400.0
#: People mark, publish and correct, so an earlier recheck would find nothing; corrections often follow soon.
FIRST_RECHECK_SECONDS = 3600.0
#: Marking may take months.
OPEN_FOR_SECONDS = 180 * _DAY
#: A rescoring whose webhook was lost is noticed within this time after the result was published.
REREAD_FOR_SECONDS = 35 * _DAY


def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
    """One attempt of the client, normalised. Raises `Unreadable`."""
    if record.kind != ASSIGNED:
        raise Unreadable(
            clip(record.body.get("problem", f"{record.kind}: unknown kind of record"), 200), reason="unassigned"
        )
    loaded = load_record(record.body)
    row, attempt = loaded["row"], loaded["attempt"]
    identifiers = _identifiers(loaded["asked"], row)
    key = attempt_id(identifiers, options.get("identity", BY_PAIR), loaded["number"])
    if key is None:
        raise Unreadable("result: has no schedule and candidate, nor had the request", reason="no_identifier")
    state = attempt_state(row) if row is not None else HANDED_IN
    times = _times(loaded["asked"], attempt)
    return NormalisedAttempt(
        attempt_id=key,
        status=state.status,
        candidate=_candidate(identifiers, row),
        assessment=_assessment(identifiers, row),
        result=_result(state, row),
        started_at=times["started"],
        completed_at=times["finished"] if state.status in ("completed", "voided") else None,
        sections=_sections(row) if row is not None and state.scored else (),
        flags=_flags(row, state, times, several=loaded["several"], now=now),
        vendor_status="HANDED_IN" if row is None else row["status"],
        vendor_ids=_vendor_ids(identifiers, row, attempt),
        extensions=_extensions(row, state) if row is not None else {},
        material=(folded(row["publish_status"]) or "",) if row is not None and state.scored else (),
        watch=_watch(identifiers, row, state, times, now),
        aliases=aliases(identifiers),
        # Only some rechecks learn the finish: it must neither cause a revision nor be lost again.
        completed_at_is_observed=True,
    )


def _identifiers(asked: AskedRow, row: ResultRow | None) -> dict[str, str]:
    """The identifiers of the request, in the vendor's own spelling if the answer has it, and those that only the answer
    has.

    Webhook, operator and vendor may spell one id differently, and an attempt has one id. Raises `Unreadable` for an
    answer about another candidate. The members of shape B need not match: that they hold the same ids is only assumed.
    """
    schedule = (asked["schedule"], row and row["schedule"], row and row["booking"])
    candidate = (asked["candidate"], row and row["candidate"], row and row["candidate_number"])
    identifiers = {
        "schedule": _spelled("schedule", *schedule),
        "candidate": _spelled("candidate", *candidate),
        "attempt": asked["attempt"],
    }
    return {name: text.strip() for name, text in identifiers.items() if text}


def _spelled(name: str, given: str | None, answered: str | None, other: str | None) -> str | None:
    if given and answered and not alike(given, answered):
        raise Unreadable(f"answer: its {name} is not the requested one", reason="another_one")
    theirs = answered or other
    return theirs if theirs and (not given or alike(given, theirs)) else given


def _times(asked: AskedRow, attempt: AttemptRow | None) -> dict[str, datetime | None]:
    times = {name: asked[name] for name in ("started", "finished", "since")}
    if attempt is not None:
        times |= {"started": attempt["started"], "finished": attempt["finished"]}
    return times


def _candidate(identifiers: Mapping[str, str], row: ResultRow | None) -> Candidate:
    candidate = identifiers.get("candidate")
    person = row["person"] if row is not None else None
    if person is None:
        return Candidate(id=candidate, external_id=candidate)
    name = " ".join(part for part in ((person["first"] or "").strip(), (person["last"] or "").strip()) if part)
    return Candidate(
        id=candidate, external_id=person["external_id"] or candidate, email=person["email"], name=name or None
    )


def _assessment(identifiers: Mapping[str, str], row: ResultRow | None) -> Assessment:
    schedule = identifiers.get("schedule")
    assessment = row and (row["assessment"] or row["assessment_number"])
    return Assessment(
        id=assessment or _assessment_stand_in(identifiers),
        group=None if schedule is None else Group(kind="schedule", id=schedule),
    )


def _assessment_stand_in(identifiers: Mapping[str, str]) -> str:
    """An event must have an assessment; until there is a result, the schedule takes its place, marked as such."""
    return next(f"{name}:{identifiers[name]}" for name in ("schedule", "attempt") if name in identifiers)


def _result(state: AttemptState, row: ResultRow | None) -> Result:
    if row is None or not state.scored:
        return Result(grading=state.grading)
    return Result(
        score=row["score"],
        max_score=row["max_score"],
        percentage=row["percentage"],
        passed=state.passed,
        grade=row["grade"],
        grading=state.grading,
    )


def _sections(row: ResultRow) -> tuple[Section, ...]:
    """Subjects with their learning objectives, then the exam's own sections if the answer has them."""
    verdicts = {"passed": True, "failed": False, "notpassed": False}
    subjects = [
        Section(
            id=subject["ext_id"],
            name=subject["name"],
            score=subject["score"],
            percentage=subject["percentage"],
            sections=tuple(
                Section(id=part["ext_id"], name=part["name"], score=part["score"], percentage=part["percentage"])
                for part in subject["objectives"] or ()
            ),
        )
        for subject in row["subjects"] or ()
    ]
    return (
        *subjects,
        *(
            Section(
                id=section["id"],
                score=section["score"],
                max_score=section["max_score"],
                percentage=section["percentage"],
                passed=verdicts.get(folded(section["verdict"]) or ""),
            )
            for section in row["exam_sections"] or ()
        ),
    )


def _flags(
    row: ResultRow | None,
    state: AttemptState,
    times: Mapping[str, datetime | None],
    *,
    several: bool | None,
    now: float,
) -> tuple[str, ...]:
    score, maximum = (row["score"], row["max_score"]) if row is not None and state.scored else (None, None)
    flags = odd_flags(now, started=times["started"], finished=times["finished"], score=score, maximum=maximum)
    assessment_unknown = row is None or not (row["assessment"] or row["assessment_number"])
    more = {"several_attempts": bool(several), "assessment_unknown": assessment_unknown}
    return (*flags, *(name for name, applies in more.items() if applies))


def _vendor_ids(identifiers: Mapping[str, str], row: ResultRow | None, attempt: AttemptRow | None) -> dict[str, str]:
    vendor_ids = {
        "schedule_ext_id": identifiers.get("schedule"),
        "candidate_ext_id": identifiers.get("candidate"),
        "attempt_ext_id": identifiers.get("attempt"),
        "assessment_ext_id": row and (row["assessment"] or row["assessment_number"]),
        "attempt_number": None if attempt is None else str(attempt["number"]),
    }
    return {name: text for name, text in vendor_ids.items() if text}


def _extensions(row: ResultRow, state: AttemptState) -> dict[str, Any]:
    marks = [
        {"id": section["id"], "pass_mark": section["pass_mark"], "pass_type": section["pass_type"]}
        for section in row["exam_sections"] or ()
        if section["pass_mark"]
    ]
    extensions = {
        "publish_status": row["publish_status"],
        "published": None if row["published"] is None else format_time(row["published"]),
        "pass_score": row["pass_score"] if state.scored else None,
        "section_pass_marks": marks if state.scored else None,
    }
    return {name: value for name, value in extensions.items() if value}


def _watch(
    identifiers: Mapping[str, str],
    row: ResultRow | None,
    state: AttemptState,
    times: Mapping[str, datetime | None],
    now: float,
) -> Watch | None:
    published = row["published"] if row is not None else None
    if state.status == "voided" or (state.status == "not_started" and published is not None):
        return None
    reference = dict(identifiers)
    for name in ("started", "finished"):
        moment = times[name]
        if moment is not None:
            reference[name] = str(int(moment.timestamp()))
    if published is None:
        since = reference.get("finished") or _since(times, now)
        if "finished" not in reference:
            reference["since"] = since
        return Watch(reference=reference, due_in=FIRST_RECHECK_SECONDS, give_up_at=int(since) + OPEN_FOR_SECONDS)
    begin = min(published.timestamp(), now)
    if state.grading == "provisional":
        return Watch(reference=reference, due_in=FIRST_RECHECK_SECONDS, give_up_at=begin + OPEN_FOR_SECONDS)
    return Watch(reference=reference, due_in=FIRST_RECHECK_SECONDS, give_up_at=begin + REREAD_FOR_SECONDS, reread=True)


def _since(times: Mapping[str, datetime | None], now: float) -> str:
    """When the attempt was first seen without a result; kept in the reference, so that the watch ends."""
    moment = times["since"]
    return str(int(now if moment is None else moment.timestamp()))
