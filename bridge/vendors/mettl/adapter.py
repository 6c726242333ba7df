"""Splits, normalises and expects Mettl's attempts. Pure; the reasons are in `QUIRKS.md`."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from bridge.errors import Unreadable, clip
from bridge.sdk.odd_results import odd_flags
from bridge.sdk.vendor import NormalisedAttempt, Pointer, Record, Watch, WebhookContent
from bridge.vendors.mettl.details import candidate, extensions, sections, share
from bridge.vendors.mettl.rows import CandidateRow, GradedRow, ResultRow, TestStatusRow
from bridge.vendors.mettl.schema import load_candidate, load_graded, load_notice
from bridge.vendors.mettl.vocabulary import AttemptState, attempt_state, fold
from schemas.event import Assessment, Group, Result

__all__ = ["CANDIDATE", "GRADED", "attempt_id", "expect", "normalise", "split"]

#: Kinds of records: a row of the API, as the client completes it, and the webhook with a result.
CANDIDATE, GRADED = "candidate", "graded"
#: `EVENT_TYPE` of the webhook with a result; every other type is a notice.
_GRADED_EVENT = "gradedassessment"
#: Open tests are submitted after 30 minutes offline, so a sitting ends soon; an administrator may let it resume later.
_OPEN_SECONDS, _RESUMABLE_SECONDS = 30 * 86_400.0, 30 * 86_400.0
#: Essays are graded by people.
_UNGRADED_SECONDS = 90 * 86_400.0
#: Seconds until the first recheck of an attempt that is open, waits for its result, may be resumed.
_OPEN_DUE, _UNGRADED_DUE, _RESUMABLE_DUE = 600.0, 60.0, 3600.0
_ACCESS_KEY, _EMAIL = re.compile(r"[A-Za-z0-9_-]{1,64}"), re.compile(r"[^\s@]+@[^\s@]+")


def attempt_id(access_key: str, email: str) -> str:
    """`{access key}:{digest}`: an address takes a test once per schedule, but an id must not contain it.

    An address in another letter case or Unicode form, or with blanks around it, is still the same attempt.
    """
    same = unicodedata.normalize("NFC", unicodedata.normalize("NFC", email.strip()).lower())
    digest = hashlib.sha256(same.encode()).hexdigest()[:20]
    return f"{quote(access_key.strip(), safe='')}:{digest}"


def split(body: Any, options: Mapping[str, Any]) -> WebhookContent:
    """The pointer of a webhook; its record only if the operator switched `confirm` off and it has a result.

    Start, finish, resume and unknown types are pointers. Raises `Unreadable`.
    """
    head = load_notice(body)
    test = body.get("testStatus")
    has_result = isinstance(test, dict) and bool(test.get("result"))
    has_test = bool(body.get("assessmentId") or body.get("assessment_id"))
    if not options["confirm"] and fold(head["EVENT_TYPE"]) == _GRADED_EVENT and has_result and has_test:
        return (Record(GRADED, body),)
    try:
        pointer = _pointer(head["invitation_key"], head["email"])
    except ValueError as error:
        raise Unreadable(f"webhook: {error}", reason="bad_shape") from error
    sitting, sent = head["candidate_instance_id"], head["timestamp_GMT"]
    if sitting is None or sent is None:
        return (replace(pointer, sitting=sitting),)
    # The API shows the newest sitting without its id; the time shows whether it is the sitting of this webhook.
    reference = {**pointer.reference, "sitting": sitting, "sent": str(int(sent.timestamp()))}
    return (replace(pointer, sitting=sitting, reference=reference),)


def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
    """One candidate of a schedule, from a webhook or the API, normalised. Raises `Unreadable`."""
    if record.kind == CANDIDATE:
        return _attempt(load_candidate(record.body), now, options)
    if record.kind == GRADED:
        return _attempt(_as_candidate(load_graded(record.body)), now, options)
    raise Unreadable(f'record: kind is "{clip(record.kind, 40)}". Known: {CANDIDATE}, {GRADED}', reason="unknown_word")


def expect(reference: Mapping[str, str], _options: Mapping[str, Any]) -> Pointer:
    """A pointer to the expected attempt. Raises `ValueError`, which never repeats an e-mail address."""
    return _pointer(reference.get("access_key", ""), reference.get("email", ""))


def _pointer(access_key: str, email: str) -> Pointer:
    # Both become part of a URL at the vendor, and anyone may have sent the webhook.
    access_key, email = access_key.strip(), email.strip()
    shapes = (("access_key", access_key, _ACCESS_KEY), ("email", email, _EMAIL))
    wrong = [name for name, value, shape in shapes if not shape.fullmatch(value)]
    if wrong:
        raise ValueError(f"{' and '.join(wrong)}: give the schedule's access_key and the candidate's email")
    # The address as it was written: whether the API is case-sensitive is not documented.
    return Pointer(key=attempt_id(access_key, email), reference={"access_key": access_key, "email": email})


def _as_candidate(body: GradedRow) -> CandidateRow:
    """The webhook in the form of a row of the API. Times in GMT, if present, replace those in the account's zone."""
    test = body["testStatus"]
    return {
        "access_key": body["invitation_key"],
        "email": body["email"],
        "name": body["name"],
        "registration": body["registrationDetails"],
        "testStatus": {
            **test,
            "startTime": body["start_time_GMT"] or test["startTime"],
            "endTime": body["end_time_GMT"] or test["endTime"],
        },
        "assessment_id": body["assessmentId"] or body["assessment_id"],
        "assessment": body["assessment_name"],
        "schedule": body["schedule_title"],
        "sitting": body["candidate_instance_id"],
    }


def _attempt(loaded: CandidateRow, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
    test, access_key = loaded["testStatus"], loaded["access_key"].strip()
    result = test["result"]
    state = attempt_state(
        test["status"],
        test["overallStatus"],
        test["detailedStatus"],
        test["completionMode"],
        has_result=result is not None,
    )
    finished, is_observed = _finish(test["endTime"], state, now)
    scored = result if state.grading in ("final", "provisional") else None
    # An attempt without its test's id is still valid: its schedule identifies the test nearly as well.
    test_id = loaded["assessment_id"] or f"schedule:{access_key}"
    known_id = {"assessment_id": loaded["assessment_id"]} if loaded["assessment_id"] else {}
    return NormalisedAttempt(
        attempt_id=attempt_id(access_key, loaded["email"]),
        status=state.status,
        candidate=candidate(loaded),
        assessment=Assessment(
            id=test_id,
            name=loaded["assessment"],
            group=Group(kind="schedule", id=access_key, name=loaded["schedule"]),
        ),
        result=Result(grading=state.grading) if scored is None else _result(scored, state),
        started_at=test["startTime"],
        completed_at=finished,
        duration_seconds=None if scored is None else _whole(scored["attemptTime"]),
        sections=() if scored is None else sections(scored),
        flags=_flags(test, state, now),
        vendor_status=test["status"],
        vendor_ids={"access_key": access_key, **known_id},
        report=test["htmlReport"] or test["pdfReport"],
        extensions=extensions(loaded, options, scored=scored is not None),
        material=(fold(test["completionMode"]),),
        watch=_watch(loaded, state, now),
        sitting=loaded["sitting"],
        completed_at_is_observed=is_observed,
    )


def _finish(ended: datetime | None, state: AttemptState, now: float) -> tuple[datetime | None, bool]:
    """When it was completed, and whether that is only when we first saw it: some attempts end without a time."""
    if state.status != "completed":
        return None, False
    if ended is None:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(now)), True
    return ended, False


def _result(result: ResultRow, state: AttemptState) -> Result:
    score, maximum = result["totalMarks"], result["maxMarks"]
    if score is None or (maximum == 0 and score == 0):
        # A questionnaire has a report but no marks.
        return Result(grading="not_scored")
    # The vendor has no pass mark, percentage or grade: the company applies its own criterion.
    return Result(score=score, max_score=maximum, percentage=share(score, maximum), grading=state.grading)


def _flags(test: TestStatusRow, state: AttemptState, now: float) -> tuple[str, ...]:
    if state.status != "completed":
        return ()
    result = test["result"] or {"totalMarks": None, "maxMarks": None}
    score, maximum = result["totalMarks"], result["maxMarks"]
    return odd_flags(now, started=test["startTime"], finished=test["endTime"], score=score, maximum=maximum)


def _watch(loaded: CandidateRow, state: AttemptState, now: float) -> Watch | None:
    """Open, ungraded and resumable attempts are rechecked one by one: no list shows what changed."""
    test = loaded["testStatus"]
    if state.status == "in_progress":
        since, due, lasts = test["startTime"], _OPEN_DUE, _OPEN_SECONDS
    elif state.grading == "pending":
        since, due, lasts = test["endTime"], _UNGRADED_DUE, _UNGRADED_SECONDS
    elif state.grading == "provisional":
        since, due, lasts = test["endTime"], _RESUMABLE_DUE, _RESUMABLE_SECONDS
    else:
        return None
    known = {
        "access_key": loaded["access_key"],
        "email": loaded["email"],
        "assessment_id": loaded["assessment_id"],
        "assessment": loaded["assessment"],
        "schedule": loaded["schedule"],
    }
    return Watch(
        reference={name: text.strip() for name, text in known.items() if text},
        due_in=due,
        give_up_at=(now if since is None else since.timestamp()) + lasts,
        reread=state.grading == "provisional",
    )


def _whole(seconds: Decimal | None) -> int | None:
    return None if seconds is None else int(seconds)
