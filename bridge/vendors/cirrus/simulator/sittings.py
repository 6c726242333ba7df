"""What the simulated Cirrus stores per attempt, and how it prints that in webhooks and in its two shapes of a result.

Written only from the vendor's pages: nothing is shared with the adapter, so that both cannot be wrong in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

__all__ = ["ASSESSMENTS", "TEMPLATES", "Shown", "Sitting", "iso", "person", "shape_a", "shape_b", "webhook_body"]

#: Assessment -> (points, points to pass, subjects).
ASSESSMENTS = {
    "BIO-2": (20.0, 11.0, (("Cells", "Cell biology"), ("Genes", "Genetics"))),
    "CHEM-1": (10.0, 6.0, (("Acids", "Acids and bases"),)),
    "LAW-4": (50.0, 27.5, ()),
}
#: How the body of a webhook may look: its real form is not known.
TEMPLATES = ("placeholder", "booking", "small", "wrapped", "candidate_only")
_FIRST = ("Ilse", "João", "Noor", "Łucja", "Sam", "Aïcha")
_LAST = ("Brandt", "Prado", "O'Neill", "van Dijk", "Żak")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the API shows of an attempt: its result as it was when somebody published it. `published`: UNIX seconds."""

    score: float
    published: float
    publish_status: str = "FINAL"
    voided: bool = False


@dataclass(slots=True, kw_only=True)
class Sitting:
    """One attempt of one candidate. Times are UNIX seconds; `handed_in` None: never; `score`: of the last marking."""

    schedule: str
    candidate: str
    assessment: str
    number: int = 1
    attempt: str = ""
    started: float = 0.0
    handed_in: float | None = None
    score: float = 0.0
    voided: bool = False
    shown: Shown | None = None
    #: Whether the attempt has an id set by the caller, instead of schedule and candidate.
    external: bool = False
    #: Every distinct result that was to be seen.
    versions: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def attempt_id(self) -> str:
        """The attempt in the words of the published events."""
        if self.external:
            return "attempt:" + quote(self.attempt, safe="")
        pair = "pair:" + quote(self.schedule, safe="") + ":" + quote(self.candidate, safe="")
        return pair if self.number == 1 else f"{pair}:{self.number}"

    @property
    def percentage(self) -> float:
        """0-100, of the result that is shown."""
        return 0.0 if self.shown is None else round(100 * self.shown.score / ASSESSMENTS[self.assessment][0], 2)

    def visible(self) -> tuple[Any, ...]:
        """What makes a version: publishing the same again is not a new one."""
        if self.shown is None:
            return ()
        return (self.shown.voided,) if self.shown.voided else (self.shown.score, self.shown.publish_status)


def iso(moment: float) -> str:
    """UTC with `Z` and two or three digits of a second, as the vendor prints it."""
    text = datetime.fromtimestamp(round(moment, 3), UTC).isoformat(timespec="milliseconds")[:-6]
    return (text.removesuffix("0")) + "Z"


def person(candidate: str) -> dict[str, str]:
    """An invented person; the same candidate always has the same name."""
    number = sum(candidate.encode())
    return {
        "ExternalId": candidate,
        "FirstName": _FIRST[number % len(_FIRST)],
        "LastName": _LAST[number % len(_LAST)],
        "UserName": candidate,
        "Email": f"person{number}@example.test",
    }


def shape_a(sitting: Sitting, *, in_schedule: int, of_assessment: int) -> dict[str, Any]:
    """A result as it is answered when requested with its schedule. The counts are running totals."""
    return {
        "CandidateExtId": sitting.candidate,
        **_common(sitting, text=False),
        "AssessmentExtId": sitting.assessment,
        "ScheduleExtId": sitting.schedule,
        "AssessmentAttemptsCount": str(of_assessment),
        "AttemptsCount": str(in_schedule),
        "Status": _status(sitting),
        "PublishStatus": "INTERMEDIARY" if sitting.shown is None else sitting.shown.publish_status,
        "Presence": sitting.handed_in is not None,
        **({"ResultsPerSubject": _subjects(sitting, text=False)} if sitting.handed_in is not None else {}),
    }


def shape_b(sitting: Sitting) -> dict[str, Any]:
    """A result as it is answered without a schedule: other names, no status; every no-show has this form too."""
    present = sitting.handed_in is not None
    row = {
        "CandidateNumber": sitting.candidate,
        **_common(sitting, text=present),
        "Presence": present,
        "AssessmentNumber": sitting.assessment,
        "BookingReference": sitting.schedule,
    }
    if present:
        row["ResultsPerSubject"] = _subjects(sitting, text=True)
        row["Sections"] = [
            {"Id": "S31-1", "MaxScore": "8", "CandidatePercent": "50", "CandidateScore": "4"},
            {
                "Id": "S31-2",
                "MaxScore": "12",
                "CandidatePercent": "75",
                "CandidateScore": "9",
                "PassMark": "50",
                "PassedStatus": "Passed",
                "PassType": "Percent",
            },
        ]
    return row


def webhook_body(sitting: Sitting, template: str) -> Any:
    """The body of "Exam results ready" in one of the `TEMPLATES`."""
    own = sitting.attempt or None
    if template == "booking":
        return {
            "CandidateNumber": sitting.candidate,
            "BookingReference": sitting.schedule,
            "AssessmentNumber": sitting.assessment,
        } | ({"AttemptExtId": own} if own else {})
    body = {
        "CandidateExtId": sitting.candidate,
        "ScheduleExtId": sitting.schedule,
        "AttemptExtId": own,
        "AssessmentExtId": sitting.assessment,
    }
    if template == "small":
        return {name.lower(): value for name, value in body.items()}
    if template == "wrapped":
        return {"Event": "ExamResultsReady", "Content": [body], "Success": True}
    return {"CandidateExtId": sitting.candidate} if template == "candidate_only" else body


def _common(sitting: Sitting, *, text: bool) -> dict[str, Any]:
    points, to_pass, _ = ASSESSMENTS[sitting.assessment]
    absent, shown = sitting.handed_in is None, sitting.shown
    score = sitting.score if shown is None else shown.score
    percentage = _short(100 * score / points)
    return {
        "CandidateInfo": person(sitting.candidate),
        "Grade": None if absent else "Pass" if score >= to_pass else "Fail",
        "Score": "0" if absent else str(_short(score)),
        "MaxScore": "0" if absent else str(_short(points)),
        "PassScore": "0" if absent else f"{to_pass:.2f}" if text else str(to_pass),
        "PercentageScore": 0 if absent else str(percentage) if text else percentage,
        "Published": None if shown is None else iso(shown.published),
    }


def _status(sitting: Sitting) -> str:
    if sitting.handed_in is None:
        return "NotSubmitted"
    if sitting.shown is not None and sitting.shown.voided:
        return "Voided"
    score = sitting.score if sitting.shown is None else sitting.shown.score
    return "Satisfactory" if score >= ASSESSMENTS[sitting.assessment][1] else "NotSatisfactory"


def _subjects(sitting: Sitting, *, text: bool) -> list[dict[str, Any]]:
    """Percentages are numbers in one shape and text in the other; those of learning objectives are text in both."""
    score = sitting.score if sitting.shown is None else sitting.shown.score
    share = _short(100 * score / ASSESSMENTS[sitting.assessment][0])
    return [
        {
            "ExtId": ext_id,
            "Name": name,
            "Percentage": str(share) if text else share,
            "Score": str(_short(score / 2)),
            "LearningObjectives": [
                {"ExtId": f"{ext_id}-1", "Name": "All of it", "Percentage": str(share), "Score": "2"}
            ],
        }
        for ext_id, name in ASSESSMENTS[sitting.assessment][2]
    ]


def _short(number: float) -> float | int:
    number = round(number, 2)
    return int(number) if number == int(number) else number
