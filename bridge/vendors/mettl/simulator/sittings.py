"""What the simulated Mettl stores per sitting, and how it prints that in webhooks and in rows of its API.

Written only from the vendor's pages: nothing is shared with the adapter, so that both cannot be wrong in the same way.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from email.utils import formatdate
from random import Random
from typing import Any

__all__ = [
    "ENDINGS",
    "SCHEDULES",
    "TESTS",
    "USUAL",
    "Schedule",
    "Sitting",
    "Style",
    "Test",
    "api_row",
    "notice",
    "random_fields",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How values are printed. `text`: numbers as text, here and there. `reports`: the API has report links, as older
    answers did. `camel`: the graded webhook has `assessmentId`."""

    text: bool = False
    reports: bool = False
    camel: bool = True


USUAL = Style()


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A test of the simulated account. `marks`: the highest possible score; `essay`: graded by a person."""

    id: int
    name: str
    marks: float
    essay: bool = False

    __test__ = False  # pytest would take the name for a class of tests


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A test link."""

    access_key: str
    name: str
    test: Test


TESTS = (
    Test(id=310044, name="Data Handling", marks=20.0),
    Test(id=310045, name="Written Case", marks=32.0, essay=True),
)
SCHEDULES = (
    Schedule(access_key="k7p2m9x4aa", name="Data Handling - March", test=TESTS[0]),
    Schedule(access_key="q3r8t1v5bb", name="Data Handling - April", test=TESTS[0]),
    Schedule(access_key="w6y4z2n7cc", name="Written Case - intake", test=TESTS[1]),
)
#: State of a sitting -> overallStatus, detailedStatus, completionMode; spelled as on the vendor's page.
ENDINGS: dict[str, tuple[str, str, str | None]] = {
    "mapped": ("Yet to start", "Mapped", None),
    "invited": ("Yet to Start", "Invited", None),
    "access_expired": ("Not Started", "Access Expired", None),
    "in_progress": ("In-progress", "In-progress", None),
    "awaiting_permission": ("In-progress", "Awaiting Resume Permission", None),
    "finished": ("Completed", "Test-taker Completed", "Completed"),
    "time_over": ("Completed", "Time Over", "AutoCompleted"),
    "proctor_stopped": ("Test Stopped", "Proctor Stopped ", "ProctoredFinish"),
    "browsing_stopped": ("Test Stopped", "Browsing Tolerance Limit Exceeded", "BrowsingToleranceExceeded"),
    "suspicious_stopped": ("Test Stopped", "Suspicious Software Detected", "SuspiciousSoftwareFinish"),
    "blocked": ("Blocked", "Authorizer Blocked", "NA"),
    "expired": ("Disconnected", "Disconnected from Server", "Expired"),
    "resume_allowed": ("Disconnected", "Awaiting Test-taker Resume", "ResumeEnabled"),
}
_NOT_STARTED = frozenset({"mapped", "invited", "access_expired", "blocked"})
_RUNNING = frozenset({"in_progress", "awaiting_permission", "resume_allowed"})
#: Values of `status` that the vendor documents; those for the rest are invented.
_UNDOCUMENTED = {"access_expired": "Expired", "blocked": "Blocked", "resume_allowed": "InProgress"}
_FIRST = ("Asha", "Béla", "Chi", "Dora", "Eike", "Farid", "Grá", "Hana", "Ines", "Jörg")
_LAST = ("Rao", "Kis", "Obi", "Núñez", "Li", "van Dijk", "O'Neill", "Żak")


@dataclass(slots=True, kw_only=True)
class Sitting:
    """One person in one schedule. Times are whole UNIX seconds, 0: not yet. `graded`: the result is generated."""

    schedule: Schedule
    email: str
    first: str
    last: str
    instance: int
    state: str = "mapped"
    started: int = 0
    ended: int = 0
    marks: float = 0.0
    graded: bool = False
    department: str = "Night shift"
    deleted: bool = False
    odd_start: str = ""  # listed in place of the start

    @property
    def base_id(self) -> str:
        """The attempt as events name it, without the number of its sitting."""
        digest = hashlib.sha256(self.email.strip().lower().encode("utf-8")).hexdigest()
        return f"{self.schedule.access_key}:{digest[:20]}"

    @property
    def over(self) -> bool:
        """Handed in, whatever the reason."""
        return self.state not in _NOT_STARTED and self.state not in _RUNNING

    @property
    def percentage(self) -> float | None:
        """0-100; the vendor itself prints none."""
        return max(round(100 * self.marks / self.schedule.test.marks, 4), 0.0) if self.graded else None

    @property
    def status(self) -> str:
        """The raw word of the API."""
        if self.state in _UNDOCUMENTED:
            return _UNDOCUMENTED[self.state]
        if self.state in _NOT_STARTED:
            return "ToBeTaken"
        if self.state in _RUNNING:
            return "InProgress"
        return "Completed" if self.graded else "InProcessing"


def random_fields(rng: Random, number: int) -> dict[str, Any]:
    """An invented person; the number makes the e-mail address unique."""
    return {"email": f"person{number}@example.test", "first": rng.choice(_FIRST), "last": rng.choice(_LAST)}


def api_row(sitting: Sitting, style: Style, *, recommendation: bool, essays: bool) -> dict[str, Any]:
    """One row of the list of candidates."""
    return {
        "email": sitting.email,
        "registration": _registration(sitting),
        "testStatus": _test_status(sitting, style, zone="GMT", recommendation=recommendation, essays=essays),
        "proctoringDetails": None,
    }


def notice(sitting: Sitting, event: str, at: float, style: Style) -> dict[str, Any]:
    """The webhook of an event: startAssessment, finishTest, gradedAssessment, or the made-up one of a resume."""
    graded = event == "gradedAssessment"
    spelling = "assessmentId" if graded and style.camel else "assessment_id"
    body: dict[str, Any] = {
        "EVENT_TYPE": event,
        "invitation_key": sitting.schedule.access_key,
        spelling: _number(sitting.schedule.test.id, style),
        "candidate_instance_id": _number(sitting.instance, style),
        "context_data": json.dumps({"ref": f"enrol-{sitting.instance % 10_000}"}, separators=(",", ":")),
        "timestamp_GMT": _moment(at, "GMT"),
        "source_app": "attempt-bridge",
        "notification_url": "https://bridge.example.test/webhooks/mettl",
        "name": f"{sitting.first} {sitting.last}" + ("" if graded else " "),
        "email": sitting.email,
    }
    if event in ("finishTest", "gradedAssessment"):
        body["finish_mode"] = "NormalSubmission"
    return body | (_graded(sitting, style) if graded else {})


def _graded(sitting: Sitting, style: Style) -> dict[str, Any]:
    test = sitting.schedule.test
    scores = [{"sectionName": "Section #1", "sectionScore": sitting.marks, "sectionMaxScore": test.marks}]
    reports = {
        "pdfReport": f"https://vendor.example/pdf?r={sitting.instance}",
        "htmlReport": f"https://vendor.example/report?r={sitting.instance}",
    }
    return {
        "start_time_GMT": _moment(sitting.started, "UTC"),
        "end_time_GMT": _moment(sitting.ended, "UTC"),
        "marks_scored": sitting.marks,
        "max_marks": test.marks,
        "total_attempt_time": sitting.ended - sitting.started,
        "percentile": 72.7272727272727,
        "assessment_name": test.name,
        "client_id": 700123,
        "schedule_title": sitting.schedule.name,
        "start_time": _moment(sitting.started, "IST"),
        "end_time": _moment(sitting.ended, "IST"),
        "sectional_scores": json.dumps(scores, separators=(",", ":")),
        "grading_type": "NormalGrading",
        "registrationDetails": _registration(sitting),
        "proctoringDetails": None,
        "testStatus": _test_status(sitting, style, zone="IST", recommendation=True, essays=False, moved=True)
        | {"compensatoryTime": "false"}
        | reports,
    }


def _test_status(
    sitting: Sitting, style: Style, *, zone: str, recommendation: bool, essays: bool, moved: bool = False
) -> dict[str, Any]:
    """`moved`: the performance category is inside the result, as in webhooks."""
    overall, detailed, mode = ENDINGS[sitting.state]
    status: dict[str, Any] = {"status": sitting.status, "overallStatus": overall, "detailedStatus": detailed}
    if sitting.started:
        status["startTime"] = sitting.odd_start or _moment(sitting.started, zone)
    if sitting.state in _RUNNING:
        return status | {"lastResponseTime": ""} | ({"completionMode": mode} if mode else {})
    if sitting.ended:
        status["endTime"] = _moment(sitting.ended, zone)
    if not sitting.graded:
        # Only a candidate who pressed Finish has no mode before there is a result.
        return status if sitting.state == "finished" or mode is None else status | {"completionMode": mode}
    category = {"performanceCategory": "Good", "performanceCategoryVersion": 1}
    result = _result(sitting, style, recommendation=recommendation, essays=essays, webhook=moved)
    status |= {"completionMode": mode, "result": result | category if moved else result}
    if style.reports:
        status["htmlReport"] = f"https://vendor.example/report?r={sitting.instance}"
    return status if moved else status | category


def _result(sitting: Sitting, style: Style, *, recommendation: bool, essays: bool, webhook: bool) -> dict[str, Any]:
    test = sitting.schedule.test
    label = {"type": "Recommendation", "value": "Cautiously Recommended"}
    analysis: dict[str, Any] = {"responseStyles": []} if webhook else {"versionId": 100001}
    levels: list[dict[str, Any]] = [
        {"level": "EASY", **_counts(sitting, whole=True), "totalMarks": sitting.marks, "maxMarks": test.marks}
    ]
    questions = [_question(sitting)] if essays and test.essay else None
    marks = {"totalMarks": _number(sitting.marks, style), "maxMarks": test.marks}
    skill: dict[str, Any] = {"skillName": "Tables", **marks, "timeTaken": 45.0, **_counts(sitting)}
    if not webhook:
        skill["questions"] = questions
        levels = [{**levels[0], "questions": questions}]
    section = {"sectionName": "Section #1", **marks, "timeTaken": 0.0, **_counts(sitting)}
    section |= {"skillMarks": [skill | {"difficultyMarks": levels}], "questionWiseResponse": None}
    return {
        **marks,
        "percentile": 72.7272727272727,
        "attemptTime": _number(sitting.ended - sitting.started + 0.318, style),
        "candidateCredibilityIndex": "Not Applicable",
        **_counts(sitting),
        "sectionMarks": [section],
        "analysis": {**analysis, "recommendation": [label]} if recommendation else None,
        "difficultyMarks": levels,
        "codePlagiarism": "NA",
    }


def _counts(sitting: Sitting, *, whole: bool = False) -> dict[str, Any]:
    """Floats at the top, integers in the levels of difficulty."""
    kind = int if whole else float
    total = int(sitting.schedule.test.marks)
    return {
        "totalQuestion": kind(total),
        "totalCorrectAnswers": kind(max(sitting.marks, 0) // 1),
        "totalUnAnswered": kind(1),
    }


def _question(sitting: Sitting) -> dict[str, Any]:
    return {
        "type": "la",
        "questionText": "<div>Describe the join.</div>",
        "questionType": "Long Answer",
        "marksScored": min(sitting.marks, 1.0),
        "maxMarks": 1.0,
        "hasWordLimit": False,
        "wordLimit": 0,
        "wordCount": 6,
        "candidateResponse": "<p>It matches rows by key.</p>",
    }


def _registration(sitting: Sitting) -> dict[str, str]:
    return {
        "Email Address": sitting.email,
        "First Name": sitting.first,
        "Last Name": sitting.last,
        "Department": sitting.department,
    }


def _moment(at: float, zone: str) -> str:
    shift = 19_800 if zone == "IST" else 0
    return formatdate(int(at) + shift, usegmt=True).replace("GMT", zone)


def _number(number: float, style: Style) -> float | str:
    return str(number) if style.text else number
