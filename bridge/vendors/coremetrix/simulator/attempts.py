"""What the simulated Coremetrix keeps of an attempt, and how it prints that in answers and webhooks.

Written only from the vendor's pages: nothing is shared with the adapter, so that both cannot be wrong in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["EVENTS", "QUIZZES", "Attempt", "Quiz", "attempt_row", "consent_body", "event_body"]

EVENTS = (
    "quiz_consent",
    "quiz_consent_withdrawal",
    "landing_load",
    "quiz_load",
    "quiz_start",
    "quiz_complete",
    "attempt_scored",
    "attempt_profiled",
)
#: What may still change does so within a day of the finish.
_UNSETTLED_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiz:
    """A quiz of the simulated account. `models`: what scores it; none: nobody is ever scored."""

    id: str
    slug: str
    name: str
    models: tuple[str, ...]
    landing: bool = False


#: One name has a leading blank, as in a sample of the vendor; one model, two models, none.
QUIZZES = (
    Quiz(id="2f1d3c50-0000-4000-8000-0000000000aa", slug="sandbox", name=" sandbox", models=("sandbox",), landing=True),
    Quiz(id="2f1d3c50-0000-4000-8000-0000000000ab", slug="starter", name="Starter", models=("risk", "thin-file")),
    Quiz(id="2f1d3c50-0000-4000-8000-0000000000ac", slug="survey", name="Survey", models=()),
)


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One attempt. Times are UNIX seconds as the vendor's clock has them; `scores`: model -> value."""

    id: str
    custom_id: str
    quiz: Quiz
    created: float
    landing: float | None = None
    load: float | None = None
    start: float | None = None
    end: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    test: bool = False
    withdrawn: bool = False
    #: Not listed, as an attempt that the API shows late.
    hidden: bool = False
    #: Listed in place of the finish.
    odd_time: str = ""
    versions: int = 0

    @property
    def status(self) -> str:
        """`status` in the vendor's words."""
        if self.end is None:
            return "INCOMPLETE"
        if not self.scores:
            return "COMPLETED_NOT_SCORED"
        return "COMPLETED_SCORED" if self.scores.keys() >= set(self.quiz.models) else "COMPLETED_PARTIALLY_SCORED"

    @property
    def timings(self) -> dict[str, int | str]:
        """Epoch milliseconds of what has happened."""
        odd: dict[str, int | str] = {"end": self.odd_time} if self.odd_time else {}
        times = {name: getattr(self, name) for name in ("landing", "load", "start", "end")}
        return {name: round(1000 * moment) for name, moment in times.items() if moment is not None} | odd

    def is_unsettled(self, now: float) -> bool:
        """Whether the next day may still bring what is missing now."""
        missing = self.status == "COMPLETED_PARTIALLY_SCORED" or not (self.scores or self.flags)
        return missing and not self.withdrawn and self.end is not None and now < self.end + _UNSETTLED_SECONDS


def attempt_row(attempt: Attempt, *, by_id: bool, text: bool) -> dict[str, Any]:
    """One attempt of an answer. `text`: numbers as text, ids in capitals, null for what is empty."""
    row: dict[str, Any] = {
        "name": attempt.quiz.name,
        "flags": list(attempt.flags),
        "timings": attempt.timings,
        "id": attempt.id,
        "status": attempt.status,
        "quizId": attempt.quiz.id,
        "scores": [{"value": value, "model": model} for model, value in attempt.scores.items()],
    }
    if by_id:
        row["clientInfo"] = {}
    if attempt.end is not None:
        row["user"] = {
            "accommodation": "Rented",
            "age": "25-29",
            "education": "BSc",
            "maritalStatus": "Single",
            "occupation": "Employed",
        }
    if not text:
        return row
    return row | {
        "id": attempt.id.upper(),
        "quizId": attempt.quiz.id.upper(),
        "flags": row["flags"] or None,
        "timings": {name: str(moment) for name, moment in attempt.timings.items()},
        "scores": [{"value": str(score["value"]), "model": score["model"]} for score in row["scores"]] or None,
        "updatedBy": "a member that nobody documented",
    }


def event_body(attempt: Attempt, event: str, now: float, *, id_member: str | None, names_quiz: bool) -> dict[str, Any]:
    """The body of an event about progress. `id_member`: `attemptId`, `id`, or None for neither."""
    body = {"event": event, "lastUpdated": _iso(now), "slug": attempt.quiz.slug, "puid": attempt.custom_id}
    if names_quiz:
        body["quizId"] = attempt.quiz.id
    # The landing page opens before there is an attempt.
    if id_member is not None and event != "landing_load":
        body[id_member] = attempt.id
    return body


def consent_body(custom_id: str, quiz: Quiz, now: float, *, given: bool, names_quiz: bool = True) -> dict[str, Any]:
    """The body of an event about consent; a withdrawal may lack quiz and flag."""
    body: dict[str, Any] = {
        "event": "quiz_consent" if given else "quiz_consent_withdrawal",
        "consentTime" if given else "withdrawalTime": _iso(now),
        "lastUpdated": _iso(now),
        "slug": quiz.slug,
        "puid": custom_id,
    }
    return body | ({"quizId": quiz.id, "consent": given} if given or names_quiz else {})


def _iso(moment: float) -> str:
    text = datetime.fromtimestamp(round(1000 * moment) / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
