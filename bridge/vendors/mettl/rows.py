"""What the schemas in `schema.py` load, as types. A test compares the members."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict

__all__ = [
    "AnalysisRow",
    "AnswerRow",
    "ApiCandidateRow",
    "CandidateRow",
    "GradedRow",
    "LabelRow",
    "NoticeRow",
    "QuestionRow",
    "ResultRow",
    "ScheduleRow",
    "SectionRow",
    "SkillRow",
    "TestStatusRow",
]


class QuestionRow(TypedDict):
    questionType: str | None
    questionText: str | None
    marksScored: Decimal | None
    maxMarks: Decimal | None
    wordCount: Decimal | None
    candidateResponse: str | None


class SkillRow(TypedDict):
    skillName: str | None
    totalMarks: Decimal | None
    maxMarks: Decimal | None
    questions: list[QuestionRow | None] | None


class SectionRow(TypedDict):
    sectionName: str | None
    totalMarks: Decimal | None
    maxMarks: Decimal | None
    skillMarks: list[SkillRow | None] | None


class LabelRow(TypedDict):
    type: str | None
    value: str | None


class AnalysisRow(TypedDict, total=False):
    recommendation: list[LabelRow | None] | None


class ResultRow(TypedDict):
    totalMarks: Decimal | None
    maxMarks: Decimal | None
    percentile: Decimal | None
    attemptTime: Decimal | None
    candidateCredibilityIndex: str | None
    codePlagiarism: str | None
    totalQuestion: Decimal | None
    totalCorrectAnswers: Decimal | None
    totalUnAnswered: Decimal | None
    sectionMarks: list[SectionRow | None] | None
    analysis: AnalysisRow | None
    performanceCategory: str | None


class TestStatusRow(TypedDict):
    status: str | None
    overallStatus: str | None
    detailedStatus: str | None
    startTime: datetime | None
    endTime: datetime | None
    completionMode: str | None
    result: ResultRow | None
    performanceCategory: str | None
    htmlReport: str | None
    pdfReport: str | None


class ApiCandidateRow(TypedDict):
    access_key: str
    email: str
    registration: dict[str, Any] | None
    testStatus: TestStatusRow
    assessment_id: str | None
    assessment: str | None
    schedule: str | None
    sitting: str | None


class CandidateRow(ApiCandidateRow, total=False):
    """A candidate from a webhook or the API; the name is only in webhooks."""

    name: str | None


class NoticeRow(TypedDict):
    EVENT_TYPE: str | None
    invitation_key: str
    email: str
    candidate_instance_id: str | None
    timestamp_GMT: datetime | None


class GradedRow(NoticeRow):
    name: str | None
    assessmentId: str | None
    assessment_id: str | None
    assessment_name: str | None
    schedule_title: str | None
    start_time_GMT: datetime | None
    end_time_GMT: datetime | None
    registrationDetails: dict[str, Any] | None
    testStatus: TestStatusRow


class ScheduleRow(TypedDict):
    accessKey: str
    name: str | None
    assessmentId: str | None


class AnswerRow(TypedDict):
    status: str
    error: Any
    paging: Any
    assessments: Any
    schedules: Any
    schedule: Any
    candidates: Any
    candidate: Any
    email: Any
    testStatus: Any
    registration: Any
