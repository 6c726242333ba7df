"""What the schemas in `schema.py` load, as types. A test compares the members."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict

__all__ = [
    "AssessmentRow",
    "AttemptRow",
    "CourseRow",
    "HookRow",
    "ListingRow",
    "MetaRow",
    "PageInfoRow",
    "TopicRow",
    "UserRow",
]


class AssessmentRow(TypedDict, total=False):
    id: str | None
    type: str | None
    title: str | None
    minPassingPercent: Decimal | None


class CourseRow(TypedDict, total=False):
    id: str | None
    title: str | None


class TopicRow(TypedDict, total=False):
    id: str | None
    title: str | None


class UserRow(TypedDict, total=False):
    id: str | None
    email: str | None
    name: str | None
    firstName: str | None
    lastName: str | None


class AttemptRow(TypedDict):
    id: str
    status: str
    assessment: AssessmentRow | None
    course: CourseRow | None
    courseId: str | None
    topic: TopicRow | None
    topicId: str | None
    topicType: str | None
    user: UserRow | None
    createdAt: datetime | None
    updatedAt: datetime | None
    timeElapsedInSeconds: Decimal | None
    grade: Decimal | None
    originalGrade: Decimal | None
    passed: bool | None
    forgiven: bool | None
    assignmentSubmissionId: str | None


class PageInfoRow(TypedDict, total=False):
    hasMore: bool | None
    cursor: str | None


class MetaRow(TypedDict, total=False):
    nextCursor: str | None


class ListingRow(TypedDict):
    pageInfo: PageInfoRow | None
    meta: MetaRow | None
    assessmentAttempts: list[Any]


class HookRow(TypedDict):
    event: str
    timestamp: Any
    data: Any
