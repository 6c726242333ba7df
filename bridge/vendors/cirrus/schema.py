"""The shapes of what Cirrus sends: one result in either of its two spellings, one attempt, and our request.

Members that we do not publish are not declared and so not loaded. Source of the members: the vendor's API page,
`QUIRKS.md` section "Sources".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from marshmallow import fields

from bridge.sdk.compiled_schema import (
    Flag,
    IsoTime,
    Number,
    Percentage,
    Text,
    TolerantField,
    UnixTime,
    VendorSchema,
    WholeNumber,
    loader,
)
from bridge.vendors.cirrus.rows import AttemptRow, RecordRow

__all__ = ["load_attempt", "load_record", "read_moment"]


def _moment(**options: Any) -> IsoTime:
    """A time of the API, which writes UTC: a time without a zone is UTC."""
    return IsoTime(assume_utc=True, **options)


#: The same for one value: None for "". Raises ValueError.
read_moment: Callable[[Any], datetime | None] = _moment().convert


class Presence(TolerantField):
    """true/false like `Flag`, but "" is unknown: an empty text must not turn a result into a no-show."""

    exact = bool

    @staticmethod
    def convert(value: Any) -> bool | None:
        return None if value == "" else Flag.convert(value)


class PersonSchema(VendorSchema):
    external_id = Text(data_key="ExternalId")
    first = Text(data_key="FirstName")
    last = Text(data_key="LastName")
    email = Text(data_key="Email")


class ObjectiveSchema(VendorSchema):
    ext_id = Text(data_key="ExtId")
    name = Text(data_key="Name")
    percentage = Percentage(data_key="Percentage")
    score = Number(data_key="Score")


class SubjectSchema(ObjectiveSchema):
    objectives = fields.List(
        fields.Nested(ObjectiveSchema), data_key="LearningObjectives", load_default=None, allow_none=True
    )


class ExamSectionSchema(VendorSchema):
    id = Text(data_key="Id")
    score = Number(data_key="CandidateScore")
    max_score = Number(data_key="MaxScore")
    percentage = Percentage(data_key="CandidatePercent")
    pass_mark = Text(data_key="PassMark")
    pass_type = Text(data_key="PassType")
    verdict = Text(data_key="PassedStatus")


class ResultSchema(VendorSchema):
    """One result. Candidate, schedule and assessment have two names each: with and without a schedule."""

    candidate = Text(data_key="CandidateExtId")
    candidate_number = Text(data_key="CandidateNumber")
    schedule = Text(data_key="ScheduleExtId")
    booking = Text(data_key="BookingReference")
    assessment = Text(data_key="AssessmentExtId")
    assessment_number = Text(data_key="AssessmentNumber")
    person = fields.Nested(PersonSchema, data_key="CandidateInfo", load_default=None, allow_none=True)
    grade = Text(data_key="Grade")
    score = Number(data_key="Score")
    max_score = Number(data_key="MaxScore")
    pass_score = Text(data_key="PassScore")
    percentage = Percentage(data_key="PercentageScore")
    published = _moment(data_key="Published")
    status = Text(data_key="Status")
    publish_status = Text(data_key="PublishStatus")
    presence = Presence(data_key="Presence")
    subjects = fields.List(
        fields.Nested(SubjectSchema), data_key="ResultsPerSubject", load_default=None, allow_none=True
    )
    exam_sections = fields.List(
        fields.Nested(ExamSectionSchema), data_key="Sections", load_default=None, allow_none=True
    )


class AttemptSchema(VendorSchema):
    """One attempt as `attempt-info` lists it; only those handed in are listed."""

    number = WholeNumber(data_key="AttemptNumber", required=True)
    started = _moment(data_key="StartDate")
    finished = _moment(data_key="EndDate")
    status = Text(data_key="Status")


class AskedSchema(VendorSchema):
    """The client's request: answers repeat its members under varying names, and never the attempt's own id."""

    schedule = Text()
    candidate = Text()
    attempt = Text()
    started = UnixTime()
    finished = UnixTime()
    #: When it was first seen without a result, if the finish is not known.
    since = UnixTime()


class RecordSchema(VendorSchema):
    """A record of the client: the request and the answer.

    `several`: the candidate handed in more than one attempt; `number`: of this one, unless it was the first.
    """

    asked = fields.Nested(AskedSchema, required=True)
    row = fields.Nested(ResultSchema, load_default=None, allow_none=True)
    attempt = fields.Nested(AttemptSchema, load_default=None, allow_none=True)
    number = WholeNumber()
    several = Flag()


load_attempt: Callable[[Any], AttemptRow] = loader(AttemptSchema)
load_record: Callable[[Any], RecordRow] = loader(RecordSchema)
