"""What the client found about an attempt, in our words. Pure; the reasons are in `QUIRKS.md`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bridge.errors import Unreadable, clip
from bridge.sdk.vendor import NormalisedAttempt, Record, Watch
from bridge.vendors.cirrus.identity import BY_PAIR, aliases, attempt_id
from bridge.vendors.cirrus.schema import load_record
from bridge.vendors.cirrus.standing import HANDED_IN, Standing, letters, standing_of
from schemas.event import Assessment, Candidate, Group, Result, Section, format_time

__all__ = ["FOUND", "UNASSIGNED", "normalise"]

#: Kinds of records: what the client found about one attempt; a result that it could not give to one attempt.
FOUND, UNASSIGNED = "found", "unassigned"
_DAY = 86_400.0
#: Persons mark, publish and correct: nothing is to be seen sooner. What is corrected is often corrected soon.
FIRST_LOOK_SECONDS = 3600.0
#: Marking may take months.
OPEN_FOR_SECONDS = 180 * _DAY
#: A rescoring whose webhook was lost is found within this time after the result was published.
REREAD_FOR_SECONDS = 35 * _DAY
#: A finish further ahead than this is more than two clocks that differ.
CLOCK_TOLERANCE_SECONDS = 300


def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
    """What the client found about one attempt, in our words. Raises `Unreadable`."""
    if record.kind != FOUND:
        raise Unreadable(
            clip(record.body.get("problem", f"{record.kind}: unknown kind of record"), 200), reason="unassigned"
        )
    loaded = load_record(record.body)
    row, attempt = loaded["row"], loaded["attempt"]
    found = _identifiers(loaded["asked"], row)
    key = attempt_id(found, options.get("identity", BY_PAIR), loaded["number"])
    if key is None:
        raise Unreadable(
            "the result names no schedule and candidate, and we asked without them", reason="no_identifier"
        )
    standing = standing_of(row) if row is not None else HANDED_IN
    times = _times(loaded["asked"], attempt)
    return NormalisedAttempt(
        attempt_id=key,
        status=standing.status,
        candidate=_candidate(found, row),
        assessment=_assessment(found, row),
        result=_result(standing, row),
        started_at=times["started"],
        completed_at=times["finished"] if standing.status in ("completed", "voided") else None,
        sections=_sections(row) if standing.scored else (),
        flags=_flags(row, standing, times, several=loaded["several"], now=now),
        vendor_status="HANDED_IN" if row is None else row["status"],
        vendor_ids=_vendor_ids(found, row, attempt),
        extensions=_extensions(row, standing) if row is not None else {},
        material=(letters(row["publish_status"]) or "",) if row is not None and standing.scored else (),
        watch=_watch(found, row, standing, times, now),
        aliases=aliases(found),
        # Only some looks learn the finish: it must neither be news nor be forgotten again.
        completed_at_is_observed=True,
    )


def _identifiers(asked: Mapping[str, Any], row: Mapping[str, Any] | None) -> dict[str, str]:
    """What we asked with, and what only the answer has. Raises `Unreadable` for an answer about somebody else.

    The names of shape B are left alone: that they hold the same ids is assumed.
    """
    for name in ("schedule", "candidate"):
        given, told_here = asked[name], row and row[name]
        if given and told_here and given.strip().casefold() != told_here.strip().casefold():
            raise Unreadable(f"the answer names another {name} than the one that was asked for", reason="another_one")
    told = {
        "schedule": asked["schedule"] or (row and (row["schedule"] or row["booking"])),
        "candidate": asked["candidate"] or (row and (row["candidate"] or row["candidate_number"])),
        "attempt": asked["attempt"],
    }
    return {name: text for name, text in told.items() if text}


def _times(asked: Mapping[str, Any], attempt: Mapping[str, Any] | None) -> dict[str, datetime | None]:
    known = {name: asked[name] for name in ("started", "finished", "since")}
    if attempt is not None:
        known |= {"started": attempt["started"], "finished": attempt["finished"]}
    return known


def _candidate(found: Mapping[str, str], row: Mapping[str, Any] | None) -> Candidate:
    candidate = found.get("candidate")
    person = row["person"] if row is not None else None
    if person is None:
        return Candidate(id=candidate, external_id=candidate)
    name = " ".join(part for part in ((person["first"] or "").strip(), (person["last"] or "").strip()) if part)
    return Candidate(
        id=candidate, external_id=person["external_id"] or candidate, email=person["email"], name=name or None
    )


def _assessment(found: Mapping[str, str], row: Mapping[str, Any] | None) -> Assessment:
    schedule = found.get("schedule")
    named = row and (row["assessment"] or row["assessment_number"])
    return Assessment(
        id=named or _unnamed(found), group=None if schedule is None else Group(kind="schedule", id=schedule)
    )


def _unnamed(found: Mapping[str, str]) -> str:
    """An event must name its assessment; before the result is there, the schedule stands for it, and says so."""
    return next(f"{name}:{found[name]}" for name in ("schedule", "attempt") if name in found)


def _result(standing: Standing, row: Mapping[str, Any] | None) -> Result:
    if row is None or not standing.scored:
        return Result(grading=standing.grading)
    return Result(
        score=row["score"],
        max_score=row["max_score"],
        percentage=row["percentage"],
        passed=standing.passed,
        grade=row["grade"],
        grading=standing.grading,
    )


def _sections(row: Mapping[str, Any]) -> tuple[Section, ...]:
    """Subjects with their learning objectives, then the exam's own sections where the answer has them."""
    verdicts = {"passed": True, "failed": False, "notpassed": False}
    subjects = [
        Section(
            id=one["ext_id"],
            name=one["name"],
            score=one["score"],
            percentage=one["percentage"],
            sections=tuple(
                Section(id=part["ext_id"], name=part["name"], score=part["score"], percentage=part["percentage"])
                for part in one["objectives"] or ()
            ),
        )
        for one in row["subjects"] or ()
    ]
    return (
        *subjects,
        *(
            Section(
                id=one["id"],
                score=one["score"],
                max_score=one["max_score"],
                percentage=one["percentage"],
                passed=verdicts.get(letters(one["verdict"]) or ""),
            )
            for one in row["exam_sections"] or ()
        ),
    )


def _flags(
    row: Mapping[str, Any] | None,
    standing: Standing,
    times: Mapping[str, datetime | None],
    *,
    several: bool | None,
    now: float,
) -> tuple[str, ...]:
    """What is odd but the vendor's word: published all the same, because holding a result back helps nobody."""
    score, maximum = (row["score"], row["max_score"]) if row is not None and standing.scored else (None, None)
    started, finished = times["started"], times["finished"]
    odd = {
        "score_above_maximum": score is not None and maximum is not None and score > maximum,
        "finish_before_start": started is not None and finished is not None and finished < started,
        "finish_in_future": finished is not None and finished.timestamp() > now + CLOCK_TOLERANCE_SECONDS,
        "several_attempts": bool(several),
        "assessment_unknown": row is None or not (row["assessment"] or row["assessment_number"]),
    }
    return tuple(name for name, is_so in odd.items() if is_so)


def _vendor_ids(
    found: Mapping[str, str], row: Mapping[str, Any] | None, attempt: Mapping[str, Any] | None
) -> dict[str, str]:
    told = {
        "schedule_ext_id": found.get("schedule"),
        "candidate_ext_id": found.get("candidate"),
        "attempt_ext_id": found.get("attempt"),
        "assessment_ext_id": row and (row["assessment"] or row["assessment_number"]),
        "attempt_number": None if attempt is None else str(attempt["number"]),
    }
    return {name: text for name, text in told.items() if text}


def _extensions(row: Mapping[str, Any], standing: Standing) -> dict[str, Any]:
    marks = [
        {"id": one["id"], "pass_mark": one["pass_mark"], "pass_type": one["pass_type"]}
        for one in row["exam_sections"] or ()
        if one["pass_mark"]
    ]
    told = {
        "publish_status": row["publish_status"],
        "published": None if row["published"] is None else format_time(row["published"]),
        "pass_score": row["pass_score"] if standing.scored else None,
        "section_pass_marks": marks if standing.scored else None,
    }
    return {name: value for name, value in told.items() if value}


def _watch(
    found: Mapping[str, str],
    row: Mapping[str, Any] | None,
    standing: Standing,
    times: Mapping[str, datetime | None],
    now: float,
) -> Watch | None:
    published = row["published"] if row is not None else None
    if standing.status == "voided" or (standing.status == "not_started" and published is not None):
        return None
    reference = dict(found)
    for name in ("started", "finished"):
        moment = times[name]
        if moment is not None:
            reference[name] = str(int(moment.timestamp()))
    if published is None:
        since = reference.get("finished") or _since(times, now)
        if "finished" not in reference:
            reference["since"] = since
        return Watch(reference=reference, due_in=FIRST_LOOK_SECONDS, give_up_at=int(since) + OPEN_FOR_SECONDS)
    begin = min(published.timestamp(), now)
    if standing.grading == "provisional":
        return Watch(reference=reference, due_in=FIRST_LOOK_SECONDS, give_up_at=begin + OPEN_FOR_SECONDS)
    return Watch(reference=reference, due_in=FIRST_LOOK_SECONDS, give_up_at=begin + REREAD_FOR_SECONDS, reread=True)


def _since(times: Mapping[str, datetime | None], now: float) -> str:
    """When the attempt was first seen without a result: carried along, or the waiting would never end."""
    moment = times["since"]
    return str(int(now if moment is None else moment.timestamp()))
