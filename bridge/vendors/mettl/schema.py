"""Schemas of what Mettl sends: a candidate with the status of the test, by poll and by webhook, and the envelope.

Members that we do not publish (proctoring, difficulty levels, flat copies of marks) are not declared and so
not loaded. Source of the members: the vendor's API pages and observed webhooks, `QUIRKS.md` section "Sources".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from marshmallow import fields

from bridge.sdk.compiled_schema import Number, Text, TolerantField, VendorSchema, loader
from bridge.vendors.mettl.rows import AnswerRow, CandidateRow, GradedRow, NoticeRow, ScheduleRow

__all__ = [
    "NO_NUMBER",
    "Mark",
    "Moment",
    "load_answer",
    "load_candidate",
    "load_graded",
    "load_notice",
    "load_schedule",
]

_MOMENT = re.compile(
    r"(?:[A-Za-z]{3},\s+)?([0-9]{1,2})\s+([A-Za-z]{3})\s+([0-9]{4})\s+([0-9]{2}):([0-9]{2}):([0-9]{2})\s+(\S+)"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: Time zones in use -> seconds east of Greenwich. IST is Indian Standard Time here, unknown to the email package.
_ZONES = {"gmt": 0, "utc": 0, "ist": 19_800}
_OFFSET = re.compile(r"([+-])([01][0-9])([0-5][0-9])")
#: The vendor's words for "no number".
NO_NUMBER = frozenset({"na", "n/a", "not applicable"})


class Moment(TolerantField):
    """Aware UTC datetime from RFC 1123 text in GMT, UTC or IST, or with an offset; "" is None.

    Other time zones are refused: an error of five and a half hours would go unnoticed.
    """

    @staticmethod
    def convert(value: Any) -> datetime | None:
        if value == "":
            return None
        match = _MOMENT.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError('must be a time such as "Tue, 04 Mar 2025 09:41:03 GMT"')
        day, month, year, hour, minute, second, zone = match.groups()
        seconds = _seconds_east(zone)
        if seconds is None or month.lower() not in _MONTHS:
            raise ValueError("must be a time in GMT, UTC or IST, or with an offset such as +0530")
        if not 1990 <= int(year) < 2100:
            raise ValueError("must be a time in the years 1990 to 2099")
        number = _MONTHS.index(month.lower()) + 1
        local = datetime(int(year), number, int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        return local - timedelta(seconds=seconds)


def _seconds_east(zone: str) -> int | None:
    offset = _OFFSET.fullmatch(zone)
    if offset is None:
        return _ZONES.get(zone.lower())
    sign, hours, minutes = offset.groups()
    return (int(hours) * 3600 + int(minutes) * 60) * (1 if sign == "+" else -1)


class Mark(Number):
    """Decimal like `Number`; the vendor's words for "no number" (NA, Not Applicable) are None."""

    @staticmethod
    def convert(value: Any) -> Decimal | None:
        if isinstance(value, str) and value.strip().lower() in NO_NUMBER:
            return None
        return Number.convert(value)


def _listed(schema: type[VendorSchema]) -> fields.List[Any]:
    return fields.List(fields.Nested(schema, allow_none=True), load_default=None, allow_none=True)


def _optional(schema: type[VendorSchema]) -> fields.Nested:
    return fields.Nested(schema, load_default=None, allow_none=True)


class QuestionSchema(VendorSchema):
    """An essay question; only requested with the option `essays`."""

    questionType = Text()
    questionText = Text()
    marksScored = Mark()
    maxMarks = Mark()
    wordCount = Mark()
    candidateResponse = Text()


class SkillSchema(VendorSchema):
    skillName = Text()
    totalMarks = Mark()
    maxMarks = Mark()
    questions = _listed(QuestionSchema)


class SectionSchema(VendorSchema):
    sectionName = Text()
    totalMarks = Mark()
    maxMarks = Mark()
    skillMarks = _listed(SkillSchema)


class LabelSchema(VendorSchema):
    type = Text()
    value = Text()


class AnalysisSchema(VendorSchema):
    """Null without `ir`; by poll with a `versionId`, by webhook with `responseStyles`, neither of which we publish."""

    recommendation = _listed(LabelSchema)


class ResultSchema(VendorSchema):
    """Counts are floats here, and integers one level deeper."""

    totalMarks = Mark()
    maxMarks = Mark()
    percentile = Mark()
    attemptTime = Mark()
    candidateCredibilityIndex = Text()
    codePlagiarism = Text()
    totalQuestion = Mark()
    totalCorrectAnswers = Mark()
    totalUnAnswered = Mark()
    sectionMarks = _listed(SectionSchema)
    analysis = _optional(AnalysisSchema)
    performanceCategory = Text()


class TestStatusSchema(VendorSchema):
    status = Text()
    overallStatus = Text()
    detailedStatus = Text()
    startTime = Moment()
    endTime = Moment()
    completionMode = Text()
    result = _optional(ResultSchema)
    performanceCategory = Text()
    htmlReport = Text()
    pdfReport = Text()


class CandidateSchema(VendorSchema):
    """A row of the API. The client adds the schedule and the test, which the API gives outside the row."""

    access_key = Text(required=True)
    email = Text(required=True)
    registration = fields.Dict(load_default=None, allow_none=True)
    testStatus = fields.Nested(TestStatusSchema, required=True)
    assessment_id = Text()
    assessment = Text()
    schedule = Text()
    sitting = Text()


class NoticeSchema(VendorSchema):
    """What every webhook has, and all that is loaded from a webhook without a result."""

    EVENT_TYPE = Text()
    invitation_key = Text(required=True)
    email = Text(required=True)
    candidate_instance_id = Text()
    timestamp_GMT = Moment()


class GradedSchema(NoticeSchema):
    """The webhook with a result. Its own times, in GMT, are used; those inside are in the account's time zone."""

    name = Text()
    assessmentId = Text()
    assessment_id = Text()
    assessment_name = Text()
    schedule_title = Text()
    start_time_GMT = Moment()
    end_time_GMT = Moment()
    registrationDetails = fields.Dict(load_default=None, allow_none=True)
    testStatus = fields.Nested(TestStatusSchema, required=True)


class ScheduleSchema(VendorSchema):
    accessKey = Text(required=True)
    name = Text()
    assessmentId = Text()


class AnswerSchema(VendorSchema):
    """The envelope of every API answer. Only the state in it is parsed: each row is loaded separately, so neither a bad
    row nor an unneeded member loses a page."""

    status = Text(required=True)
    error = fields.Raw(load_default=None, allow_none=True)
    paging = fields.Raw(load_default=None, allow_none=True)
    #: "" if the member is missing, which is not an empty list.
    assessments = fields.Raw(load_default="", allow_none=True)
    schedules = fields.Raw(load_default="", allow_none=True)
    schedule = fields.Raw(load_default=None, allow_none=True)
    #: A list on pages of a schedule; whether a single candidate is an object or a list of one is not documented.
    candidates = fields.Raw(load_default="", allow_none=True)
    candidate = fields.Raw(load_default="", allow_none=True)
    email = fields.Raw(load_default=None, allow_none=True)
    testStatus = fields.Raw(load_default=None, allow_none=True)
    registration = fields.Raw(load_default=None, allow_none=True)


load_answer: Callable[[Any], AnswerRow] = loader(AnswerSchema)
load_schedule: Callable[[Any], ScheduleRow] = loader(ScheduleSchema)
load_candidate: Callable[[Any], CandidateRow] = loader(CandidateSchema)
load_notice: Callable[[Any], NoticeRow] = loader(NoticeSchema)
load_graded: Callable[[Any], GradedRow] = loader(GradedSchema)
