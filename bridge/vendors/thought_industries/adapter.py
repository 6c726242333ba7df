"""Verifies, splits and normalises Thought Industries' attempts. Pure; the reasons are in `QUIRKS.md`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from bridge.errors import BadSignature, Unreadable, clip
from bridge.net.signatures import require_signature
from bridge.sdk.odd_results import CLOCK_TOLERANCE_SECONDS, odd_flags
from bridge.sdk.vendor import Ignored, NormalisedAttempt, Pointer, Record, Watch, WebhookContent
from bridge.vendors.thought_industries.rows import AttemptRow, UserRow
from bridge.vendors.thought_industries.schema import Key, is_uuid, load_attempt, load_hook, read_moment
from schemas.event import Assessment, Candidate, Group, Result

__all__ = [
    "ATTEMPT",
    "LONGEST_SITTING",
    "OPEN_STATUSES",
    "SIGNATURE_HEADER",
    "expect",
    "normalise",
    "split",
    "verify",
    "wanted_ids",
]

SIGNATURE_HEADER = "x-ti-signature"
#: The one kind of record.
ATTEMPT = "attempt"
#: The one event that points to an attempt; all others are ignored and counted.
POINTER_EVENT = "course.completed"
#: Their `status` -> ours.
STATUSES = {"started": "in_progress", "pending": "completed", "finished": "completed"}
#: Still in progress, or not graded yet.
OPEN_STATUSES = frozenset({"started", "pending"})
#: `topicType` that is never scored. A type in neither set is scored if it has a grade.
UNSCORED = frozenset({"survey", "workbook", "tally", "ad"})
SCORED = frozenset({"quiz", "test", "highlightZoneQuiz"})
#: How long rounds wait for open attempts, seconds. An attempt that stays open longer is left to its own watch.
LONGEST_SITTING = 86_400.0
#: No watch is rechecked sooner: the rounds see younger attempts.
FIRST_RECHECK_SECONDS = 3600.0
#: Learners leave attempts and come back, but not after this long, seconds.
OPEN_FOR_SECONDS = 90 * 86_400.0
#: A webhook and its attempt may come in either order; an attempt that changed earlier than this is an older one.
POINTER_TOLERANCE_SECONDS = 86_400
_HEX = re.compile(r"[0-9a-f]{64}")


def verify(raw: bytes, headers: Mapping[str, str], secrets: tuple[str, ...], now: float) -> int:
    """The number of the secret. Raises `BadSignature` unless the header is the lower-case hex HMAC-SHA256 of `raw`.

    `now` is unused: the time in the body is signed, but no tolerance for it is documented.
    """
    given = headers.get(SIGNATURE_HEADER)
    if not given:
        raise BadSignature(
            f"no {SIGNATURE_HEADER} header. Is this a webhook of Thought Industries?", reason="missing_signature"
        )
    # The vendor's own samples throw on a header of another length.
    if not _HEX.fullmatch(given):
        raise BadSignature(f"{SIGNATURE_HEADER} is not 64 lower-case hex digits", reason="malformed_signature")
    return require_signature(raw, bytes.fromhex(given), secrets)


def split(body: Any, options: Mapping[str, Any]) -> WebhookContent:
    """A pointer for a completed course; no webhook holds an attempt. Raises `Unreadable`."""
    hook = load_hook(body)
    if hook["event"] != POINTER_EVENT:
        return Ignored(clip(hook["event"], 60))
    user, course = _named(hook["data"], "user"), _named(hook["data"], "course")
    if user is None or course is None or not _is_wanted(user, course, options):
        return Ignored(POINTER_EVENT)
    since = _since(hook["timestamp"])
    return (Pointer(key=_place(user, course), reference={**_reference(user, course), **since}),)


def expect(reference: Mapping[str, str], options: Mapping[str, Any]) -> Pointer:
    """A pointer to the expected attempt. Raises `ValueError` for one without ids, or that the source does not read."""
    user, course = (reference.get(name, "").strip().lower() for name in ("user_id", "course_id"))
    missing = [name for name, text in (("user_id", user), ("course_id", course)) if not is_uuid(text)]
    if missing:
        raise ValueError(f"{', '.join(missing)}: give the uuids user_id and course_id")
    if not _is_wanted(user, course, options):
        raise ValueError("user_id or course_id: excluded by the source's options user_ids or course_ids")
    return Pointer(key=_place(user, course), reference=_reference(user, course))


def wanted_ids(options: Mapping[str, Any], name: str) -> frozenset[str]:
    """The ids in an option, spelled as in rows; empty: all."""
    return frozenset(text.strip().lower() for text in options.get(name, ()))


def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
    """One row, normalised. Raises `Unreadable`."""
    row = load_attempt(record.body)
    status = STATUSES.get(row["status"])
    if status is None:
        raise Unreadable(f'status is "{clip(row["status"], 40)}". Known: {", ".join(STATUSES)}')
    completed = status == "completed"
    result = _result(row)
    user, course = row["user"] or {}, _course(row)
    user_id = user.get("id")
    submission = row["assignmentSubmissionId"]
    return NormalisedAttempt(
        attempt_id=row["id"],
        status=status,
        candidate=_candidate(user),
        assessment=_assessment(row, course),
        result=result,
        started_at=row["createdAt"],
        completed_at=row["updatedAt"] if completed else None,
        completed_at_is_observed=True,
        duration_seconds=_seconds(row["timeElapsedInSeconds"]),
        flags=_flags(row, now) if completed else (),
        vendor_status=row["status"],
        vendor_ids=_ids(row, course),
        extensions=_extensions(row, result),
        # A time in the future would make every later version look old.
        order=0 if row["updatedAt"] is None else int(min(row["updatedAt"].timestamp(), now) * 100),
        material=(*(("forgiven",) if row["forgiven"] else ()), *((submission,) if submission else ())),
        watch=_watch(row, course, now, options),
        aliases=(_place(user_id, course["id"]),) if user_id and course["id"] else (),
    )


def _result(row: AttemptRow) -> Result:
    grade, kind = row["grade"], row["topicType"]
    scored = kind in SCORED or (kind not in UNSCORED and grade is not None)
    # The member must not be null, so 0 means "none".
    pass_mark: Decimal | None = ((row["assessment"] or {}).get("minPassingPercent") or None) if scored else None
    if row["status"] == "started" or (row["status"] == "finished" and not scored):
        return Result(grading="not_scored")
    if row["status"] == "pending":
        # `grade` is 0 and `passed` false until somebody grades.
        return Result(grading="pending", pass_mark_percentage=pass_mark)
    if grade is not None and not 0 <= grade <= 100:
        raise Unreadable("grade: must be a percentage of 0 to 100")
    return Result(
        percentage=grade,
        pass_mark_percentage=pass_mark,
        passed=None if pass_mark is None else row["passed"],
        grading="final",
    )


def _candidate(user: UserRow) -> Candidate:
    parts = ((part or "").strip() for part in (user.get("firstName"), user.get("lastName")))
    name = (user.get("name") or "").strip() or " ".join(part for part in parts if part)
    return Candidate(id=user.get("id"), email=user.get("email"), name=name or None)


def _course(row: AttemptRow) -> dict[str, str | None]:
    course = row["course"] or {}
    return {"id": row["courseId"] or course.get("id"), "title": course.get("title")}


def _assessment(row: AttemptRow, course: Mapping[str, str | None]) -> Assessment:
    assessment, topic = row["assessment"] or {}, row["topic"] or {}
    test_id = assessment.get("id") or row["topicId"] or topic.get("id")
    if test_id is None:
        raise Unreadable("assessment.id, topicId: both are missing")
    return Assessment(
        id=test_id,
        name=assessment.get("title") or topic.get("title"),
        group=None if course["id"] is None else Group(kind="course", id=course["id"], name=course["title"]),
    )


def _ids(row: AttemptRow, course: Mapping[str, str | None]) -> dict[str, str]:
    ids = {
        "attempt_id": row["id"],
        "user_id": (row["user"] or {}).get("id"),
        "course_id": course["id"],
        "assessment_id": (row["assessment"] or {}).get("id"),
        "topic_id": row["topicId"] or (row["topic"] or {}).get("id"),
        "assignment_submission_id": row["assignmentSubmissionId"],
    }
    return {name: value for name, value in ids.items() if value is not None}


def _extensions(row: AttemptRow, result: Result) -> dict[str, Any]:
    extensions: dict[str, Any] = {"topic_type": row["topicType"]} if row["topicType"] else {}
    original = row["originalGrade"]
    if result.percentage is not None and original is not None and original != result.percentage:
        extensions["original_grade"] = float(original)
    return extensions


def _flags(row: AttemptRow, now: float) -> tuple[str, ...]:
    forgiven = ("forgiven",) if row["forgiven"] else ()
    return (*forgiven, *odd_flags(now, started=row["createdAt"], finished=row["updatedAt"]))


def _seconds(elapsed: Decimal | None) -> int | None:
    return None if elapsed is None or elapsed < 0 else int(elapsed)


def _watch(row: AttemptRow, course: Mapping[str, str | None], now: float, options: Mapping[str, Any]) -> Watch | None:
    """Watches open attempts until they close; finished ones only if the sweep, which goes by creation, ends too
    soon."""
    created: datetime | None = row["createdAt"] or row["updatedAt"]
    user = (row["user"] or {}).get("id")
    if created is None:
        return None
    began = created.timestamp()
    place = {"user_id": user, "course_id": course["id"]} if user else {"created": repr(began)}
    reference = {"attempt_id": row["id"], **{name: value for name, value in place.items() if value}}
    if row["status"] in OPEN_STATUSES:
        due_in = max(began + LONGEST_SITTING - now, FIRST_RECHECK_SECONDS)
        return Watch(reference=reference, due_in=due_in, give_up_at=began + OPEN_FOR_SECONDS)
    changed, age = (row["updatedAt"] or created).timestamp(), float(options["reread"])
    swept_until = began + LONGEST_SITTING + age
    if changed + age <= max(swept_until, now) or changed > now + CLOCK_TOLERANCE_SECONDS:
        return None
    due_in = max(swept_until - now, FIRST_RECHECK_SECONDS)
    return Watch(reference=reference, due_in=due_in, give_up_at=changed + age, reread=True)


def _place(user: str, course: str) -> str:
    return f"?user:{user}:{course}"


def _reference(user: str, course: str) -> dict[str, str]:
    return {"user_id": user, "course_id": course}


def _is_wanted(user: str, course: str, options: Mapping[str, Any]) -> bool:
    users, courses = wanted_ids(options, "user_ids"), wanted_ids(options, "course_ids")
    return (not users or user in users) and (not courses or course in courses)


def _named(data: Any, noun: str) -> str | None:
    """The uuid of `user` or `course`, from `userId` or `user.id`; None if it is missing or not a uuid."""
    if not isinstance(data, dict):
        return None
    inner = data.get(noun)
    value = data.get(f"{noun}Id") or (inner.get("id") if isinstance(inner, dict) else None)
    text = Key.convert(value) if isinstance(value, str) else None
    return text if text is not None and is_uuid(text) else None


def _since(timestamp: Any) -> dict[str, str]:
    """The earliest change, UNIX seconds, of an attempt that a webhook of this time may mean."""
    try:
        moment = read_moment(timestamp) if timestamp is not None else None
    except ValueError:
        moment = None  # a webhook without a readable time is still a pointer
    return {} if moment is None else {"since": str(int(moment.timestamp()) - POINTER_TOLERANCE_SECONDS)}
