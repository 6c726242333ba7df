"""What the schemas in `schema.py` load, as types. A test compares the members."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict

__all__ = [
    "AnswerRow",
    "CategoryRow",
    "GroupRecordRow",
    "GroupResultRow",
    "GroupRow",
    "HeadRow",
    "LinkRecordRow",
    "LinkResultRow",
    "LinkRow",
    "ResultRow",
    "TestRow",
]


class HeadRow(TypedDict):
    payload_type: str
    payload_status: str


class TestRow(TypedDict):
    test_id: int
    test_name: str | None


class GroupRow(TypedDict):
    group_id: int
    group_name: str | None


class LinkRow(TypedDict):
    link_id: int
    link_name: str | None


class CategoryRow(TypedDict):
    category_id: int | None
    name: str | None
    percentage: Decimal | None
    points_available: Decimal | None
    points_scored: Decimal | None


class ResultRow(TypedDict):
    first: str | None
    last: str | None
    email: str | None
    percentage: Decimal | None
    points_scored: Decimal | None
    points_available: Decimal | None
    requires_grading: bool | None
    time_finished: datetime | None
    duration: int | None
    percentage_passmark: Decimal | None
    passed: bool | None
    certificate_url: str | None
    certificate_serial: str | None
    view_results_url: str | None
    status: str | None
    test_type: str | None


class GroupResultRow(ResultRow):
    user_id: int
    time_started: datetime


class LinkResultRow(ResultRow):
    link_result_id: int
    time_started: datetime | None
    cm_user_id: str | None
    access_code: str | None
    access_code_used: str | None
    extra_info: str | None
    extra_info2: str | None
    extra_info3: str | None
    extra_info4: str | None
    extra_info5: str | None
    extra_info_answer: str | None
    extra_info2_answer: str | None
    extra_info3_answer: str | None
    extra_info4_answer: str | None
    extra_info5_answer: str | None


class GroupRecordRow(TypedDict):
    test: TestRow
    group: GroupRow
    result: GroupResultRow
    category_results: list[CategoryRow] | None


class LinkRecordRow(TypedDict):
    test: TestRow
    link: LinkRow
    result: LinkResultRow
    category_results: list[CategoryRow] | None


class AnswerRow(TypedDict):
    status: str
    server_timestamp: Any
    error: Any
    groups: Any
    links: Any
    tests: Any
    results: Any
    more_results_exist: bool | None
    access_lists: Any
