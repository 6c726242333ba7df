"""Splits, normalises and expects Coremetrix' attempts. Pure; the reasons are in `QUIRKS.md`.

There is no `verify`: the vendor does not sign. A webhook is only a pointer, never a result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from bridge.errors import Unreadable, clip
from bridge.sdk.odd_results import CLOCK_TOLERANCE_SECONDS, odd_flags
from bridge.sdk.records import plain_figure, shown_figure
from bridge.sdk.vendor import Consent, Ignored, NormalisedAttempt, Pointer, Record, Watch, WebhookContent
from bridge.vendors.coremetrix.rows import ScoreRow
from bridge.vendors.coremetrix.schema import Uuid, load_attempt, load_consent, load_hook
from schemas.event import Assessment, Candidate, Result, Section

__all__ = ["ATTEMPTS", "expect", "normalise", "quiz_ids", "split"]

#: The kind of every record, and the name of the poll stream.
ATTEMPTS = "attempts"
CONSENT_EVENTS = frozenset({"quiz_consent", "quiz_consent_withdrawal"})
#: Events after which the report API may have something new. Others are ignored and counted, including `landing_load`,
#: after which there may be no attempt.
PROGRESS_EVENTS = frozenset({"quiz_load", "quiz_start", "quiz_complete", "attempt_scored", "attempt_profiled"})

INCOMPLETE, SCORED = "INCOMPLETE", "COMPLETED_SCORED"
PARTIALLY_SCORED, NOT_SCORED = "COMPLETED_PARTIALLY_SCORED", "COMPLETED_NOT_SCORED"
#: Their `status` -> grading once nothing changes any longer.
GRADINGS = {
    INCOMPLETE: "not_scored",
    SCORED: "final",
    PARTIALLY_SCORED: "final",
    NOT_SCORED: "not_scored",
}
#: Nothing shows that scoring is in progress, so what may still change is rechecked this long after the finish, seconds.
RECHECK_WINDOW_SECONDS = 86_400.0
#: An announced attempt that the API does not show within a day does not exist.
ANNOUNCED_SECONDS = 86_400.0
#: An attempt takes minutes; after a month nobody will finish it.
OPEN_SECONDS = 30 * 86_400.0
#: Seconds until the first recheck of an open attempt, and of one that waits for its scores.
OPEN_DUE_SECONDS, SCORES_DUE_SECONDS = 900.0, 60.0


def split(body: Any, options: Mapping[str, Any]) -> WebhookContent:
    """A webhook's pointer or consent, or why it is ignored. Raises `Unreadable`."""
    hook = load_hook(body)
    event = hook["event"]
    if event in CONSENT_EVENTS:
        return _consent(event, body)
    quiz_id = (hook["quiz_id"] or "").strip().lower()
    wanted = quiz_ids(options)
    if event not in PROGRESS_EVENTS or (quiz_id and wanted and quiz_id not in wanted):
        return Ignored(clip(event, 60))
    return (_pointer(hook["puid"], _as_uuid(quiz_id), _as_uuid(hook["attempt_id"]) or _as_uuid(hook["id"])),)


def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
    """One attempt of the report API, normalised. Raises `Unreadable`."""
    loaded = load_attempt(record.body)
    status, attempt_id, quiz_id = loaded["status"].strip().upper(), loaded["id"], loaded["quiz_id"]
    if status not in GRADINGS:
        raise Unreadable(f'status is "{clip(status, 40)}". Known: {", ".join(GRADINGS)}')
    wanted = quiz_ids(options)
    if wanted and quiz_id not in wanted:
        return _of_other_quiz(attempt_id, quiz_id, status)
    completed, times, flags = status != INCOMPLETE, loaded["timings"] or {}, loaded["flags"] or ()
    start, end = times.get("start"), (times.get("finish") or times.get("complete")) if completed else None
    if completed and end is None:
        raise Unreadable("timings.end: is missing in a completed attempt")
    grading = _grading(status, flags, end, now)
    scores = _sections(loaded["scores"]) if status in (SCORED, PARTIALLY_SCORED) else ()
    person = loaded["custom_id"]
    material = (status, *flags, *(f"{score.id}={_shown(score.score)}" for score in scores))
    former = (status, *flags, *(f"{score.id}={plain_figure(score.score)}" for score in scores))
    return NormalisedAttempt(
        attempt_id=attempt_id,
        status="completed" if completed else "not_started" if start is None else "in_progress",
        # The company's own id; the vendor has none for a person.
        candidate=Candidate(external_id=person),
        assessment=Assessment(id=quiz_id, name=(loaded["name"] or "").strip() or None),
        result=Result(score=scores[0].score if len(scores) == 1 else None, grading=grading),
        started_at=start,
        completed_at=end,
        duration_seconds=_duration(start, end),
        sections=scores,
        flags=(*flags, *odd_flags(now, started=start, finished=end)),
        vendor_status=status,
        vendor_ids={"attempt_id": attempt_id, "quiz_id": quiz_id},
        material=material,
        former_material=None if former == material else former,
        watch=_watch(attempt_id, person, grading, (end, start or times.get("loaded")), now),
        aliases=() if person is None else (_person_key(person), _person_key(person, quiz_id)),
        consent=() if person is None else _consent_keys(person, quiz_id),
    )


def expect(reference: Mapping[str, str], options: Mapping[str, Any]) -> Pointer:
    """A pointer to the expected attempt. Raises `ValueError` for a reference that identifies none."""
    attempt, person, quiz = (reference.get(name, "").strip() for name in ("attempt_id", "custom_id", "quiz_id"))
    for name, text in (("attempt_id", attempt), ("quiz_id", quiz)):
        if text and _as_uuid(text) is None:
            raise ValueError(f"{name}: must be a uuid")
    if attempt:
        known = {"attempt_id": attempt.lower()} | ({"custom_id": person} if person else {})
        return Pointer(key=attempt.lower(), reference=known)
    if not person:
        raise ValueError("custom_id or attempt_id is missing. Give one of them")
    wanted = quiz_ids(options)
    if quiz and wanted and quiz.lower() not in wanted:
        raise ValueError("quiz_id: is not in this source's options.quiz_ids")
    return _pointer(person, quiz.lower() or None, None)


def quiz_ids(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The quizzes a source is restricted to, in lower case; empty: all of the account."""
    return tuple(str(quiz_id).strip().lower() for quiz_id in options.get("quiz_ids") or ())


def _pointer(person: str | None, quiz_id: str | None, attempt_id: str | None) -> Pointer:
    """A pointer from a webhook or an operator. The person in a webhook is only used for requests, never published."""
    if person is None:
        if attempt_id is None:
            raise Unreadable("puid, attemptId: both are missing")
        return Pointer(key=attempt_id, reference={"attempt_id": attempt_id}, give_up_after=ANNOUNCED_SECONDS)
    known = {"custom_id": person, "quiz_id": quiz_id, "announced": attempt_id}
    reference = {name: value for name, value in known.items() if value}
    key = attempt_id or _person_key(person, quiz_id)
    return Pointer(key=key, reference=reference, give_up_after=ANNOUNCED_SECONDS)


def _consent(event: str, body: Any) -> WebhookContent:
    """Kept for every quiz, even those not read now: `quiz_ids` may grow, and a withdrawal must still apply then.

    A withdrawal that does not name a quiz applies to all, until the person consents to any again.
    """
    loaded = load_consent(body)
    person, quiz_id = loaded["puid"], loaded["quiz_id"]
    given = event == "quiz_consent" and loaded["consent"] is not False
    at = loaded["consent_time" if event == "quiz_consent" else "withdrawal_time"] or loaded["last_updated"]
    subject = {"puid": person} | ({"quizId": quiz_id} if quiz_id else {})
    keys = _consent_keys(person, quiz_id)
    moment = None if at is None else at.timestamp()
    return tuple(Consent(key=key, given=given, at=moment, subject=subject) for key in (keys if given else keys[-1:]))


def _of_other_quiz(attempt_id: str, quiz_id: str, status: str) -> NormalisedAttempt:
    """An attempt at a quiz that is not configured, from a webhook without quizId: not started, and not rechecked."""
    return NormalisedAttempt(
        attempt_id=attempt_id,
        status="not_started",
        candidate=Candidate(),
        assessment=Assessment(id=quiz_id),
        result=Result(grading="not_scored"),
        vendor_status=status,
    )


def _grading(status: str, flags: tuple[str, ...], end: datetime | None, now: float) -> str:
    waits = status == PARTIALLY_SCORED or (status == NOT_SCORED and not flags)
    if end is None or not waits or not _may_change(end.timestamp(), RECHECK_WINDOW_SECONDS, now):
        return GRADINGS[status]
    return "provisional" if status == PARTIALLY_SCORED else "pending"


def _may_change(since: float, seconds: float, now: float) -> bool:
    """Whether fewer than `seconds` have passed; False for a time in the future, which would stay open until then."""
    return -CLOCK_TOLERANCE_SECONDS <= now - since < seconds


def _watch(
    attempt_id: str, person: str | None, grading: str, times: tuple[datetime | None, datetime | None], now: float
) -> Watch | None:
    """`times`: the finish, and the start as far as is known. Without either there is no time at which to give up."""
    end, begun = times
    since, seconds, due_in = end, RECHECK_WINDOW_SECONDS, SCORES_DUE_SECONDS
    if end is None:
        since, seconds, due_in = begun, OPEN_SECONDS, OPEN_DUE_SECONDS
    elif grading not in ("provisional", "pending"):
        return None
    if since is None or not _may_change(since.timestamp(), seconds, now):
        return None
    # The answer by id lacks the person, so the watch keeps it.
    known = {"attempt_id": attempt_id} | ({"custom_id": person} if person else {})
    return Watch(reference=known, due_in=due_in, give_up_at=since.timestamp() + seconds)


def _sections(scores: list[ScoreRow | None] | None) -> tuple[Section, ...]:
    """One section per model, sorted by name. The vendor gives neither scale nor maximum."""
    sections = (
        Section(id=score["model"], name=score["model"], score=score["value"]) for score in scores or () if score
    )
    return tuple(sorted(sections, key=lambda section: section.id or ""))


def _duration(start: datetime | None, end: datetime | None) -> int | None:
    if start is None or end is None or end < start:
        return None
    return int((end - start).total_seconds())


def _person_key(person: str, quiz_id: str | None = None) -> str:
    """The key under which a person's next attempt is expected, at one quiz or at any."""
    return ":".join(filter(None, ("?person", _digest(person), quiz_id)))


def _consent_keys(person: str, quiz_id: str | None) -> tuple[str, ...]:
    """The keys of the person's consent: for all quizzes, and for this one if it is known."""
    anywhere = f"consent:{_digest(person)}"
    return (anywhere, f"{anywhere}:{quiz_id}") if quiz_id else (anywhere,)


def _digest(person: str) -> str:
    """A digest for keys, which are shown, logged and stored: the company's id of a person may be an address."""
    return hashlib.sha256(person.encode()).hexdigest()[:20]


def _shown(score: Decimal | None) -> str:
    return plain_figure(None if score is None else shown_figure(score))


def _as_uuid(text: str | None) -> str | None:
    """The uuid in a webhook, None if it is not one: a webhook only points."""
    try:
        return Uuid.convert(text or "")
    except ValueError:
        return None
