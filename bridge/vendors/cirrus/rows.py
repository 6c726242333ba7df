"""What the schemas in `schema.py` load, as types. A test compares the members."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TypedDict

__all__ = [
    "AskedRow",
    "AttemptRow",
    "ExamSectionRow",
    "ObjectiveRow",
    "PersonRow",
    "RecordRow",
    "ResultRow",
    "SubjectRow",
]


class PersonRow(TypedDict):
    external_id: str | None
    first: str | None
    last: str | None
    email: str | None


class ObjectiveRow(TypedDict):
    ext_id: str | None
    name: str | None
    percentage: Decimal | None
    score: Decimal | None


class SubjectRow(ObjectiveRow):
    objectives: list[ObjectiveRow] | None


class ExamSectionRow(TypedDict):
    id: str | None
    score: Decimal | None
    max_score: Decimal | None
    percentage: Decimal | None
    pass_mark: str | None
    pass_type: str | None
    verdict: str | None


class ResultRow(TypedDict):
    candidate: str | None
    candidate_number: str | None
    schedule: str | None
    booking: str | None
    assessment: str | None
    assessment_number: str | None
    person: PersonRow | None
    grade: str | None
    score: Decimal | None
    max_score: Decimal | None
    pass_score: str | None
    percentage: Decimal | None
    published: datetime | None
    status: str | None
    publish_status: str | None
    presence: bool | None
    subjects: list[SubjectRow] | None
    exam_sections: list[ExamSectionRow] | None


class AttemptRow(TypedDict):
    number: int
    started: datetime | None
    finished: datetime | None
    status: str | None


class AskedRow(TypedDict):
    schedule: str | None
    candidate: str | None
    attempt: str | None
    started: datetime | None
    finished: datetime | None
    since: datetime | None


class RecordRow(TypedDict):
    asked: AskedRow
    row: ResultRow | None
    attempt: AttemptRow | None
    number: int | None
    several: bool | None
