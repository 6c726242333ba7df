"""Schemas of what Thought Industries sends: an attempt, the list that holds it, and a webhook's envelope.

An attempt holds its whole course and user, with addresses, telephone numbers and payment data. Only what is declared
here is ever kept: `pruned` removes all other members of a row before anything else sees it.
Source of the members: the vendor's REST and webhook pages, `QUIRKS.md` section "Sources".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from marshmallow import Schema, fields

from bridge.sdk.compiled_schema import (
    Flag,
    IsoTime,
    Number,
    Percentage,
    Text,
    TolerantField,
    UnixMillis,
    UnixTime,
    VendorSchema,
    loader,
)
from bridge.vendors.thought_industries.rows import AttemptRow, HookRow, ListingRow

__all__ = ["Key", "is_uuid", "load_attempt", "load_hook", "load_listing", "pruned", "read_moment"]

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Key(TolerantField):
    """An id as text, trimmed and in lower case, so that one id has one spelling."""

    @staticmethod
    def convert(value: Any) -> str | None:
        text = Text.convert(value)
        return None if text is None else text.strip().lower() or None


class Uuid(Key):
    """An id that must be a uuid, because a published id is made of it."""

    @staticmethod
    def convert(value: Any) -> str | None:
        text = Key.convert(value)
        if text is not None and not is_uuid(text):
            raise ValueError("must be a uuid")
        return text


def _moment() -> IsoTime:
    """A time in ISO 8601, without a zone in UTC, or in UNIX seconds or milliseconds: the vendor's pages differ."""
    return IsoTime(assume_utc=True, numbers=(UnixTime, UnixMillis))


#: The same for one value: None for "". Raises ValueError.
read_moment: Callable[[Any], datetime | None] = _moment().convert


class AssessmentSchema(VendorSchema):
    id = Key()
    type = Text()
    title = Text()
    minPassingPercent = Percentage()


class CourseSchema(VendorSchema):
    id = Key()
    title = Text()


class TopicSchema(VendorSchema):
    id = Key()
    title = Text()


class UserSchema(VendorSchema):
    id = Key()
    email = Text()
    name = Text()
    firstName = Text()
    lastName = Text()


def _nested(schema: type[VendorSchema]) -> fields.Nested:
    return fields.Nested(schema, load_default=None, allow_none=True)


class AttemptSchema(VendorSchema):
    """One row. The vendor's own GraphQL schema lets nearly every member be null."""

    id = Uuid(required=True)
    status = Text(required=True)
    assessment = _nested(AssessmentSchema)
    course = _nested(CourseSchema)
    courseId = Key()
    topic = _nested(TopicSchema)
    topicId = Key()
    topicType = Text()
    user = _nested(UserSchema)
    createdAt = _moment()
    updatedAt = _moment()
    timeElapsedInSeconds = Number()
    grade = Percentage()
    originalGrade = Percentage()
    passed = Flag()
    forgiven = Flag()
    assignmentSubmissionId = Key()


class PageInfoSchema(VendorSchema):
    hasMore = Flag()
    cursor = Text()


class MetaSchema(VendorSchema):
    nextCursor = Text()


class ListingSchema(VendorSchema):
    """What is inside the wrapper. Rows are not parsed: each is loaded separately, so a bad row loses no page."""

    pageInfo = _nested(PageInfoSchema)
    meta = _nested(MetaSchema)
    assessmentAttempts = fields.List(fields.Raw(allow_none=True), required=True)


class HookSchema(VendorSchema):
    """A webhook. The members of `data` are not documented, so none is required."""

    event = Text(required=True)
    timestamp = fields.Raw(load_default=None, allow_none=True)
    data = fields.Raw(load_default=None, allow_none=True)


load_attempt: Callable[[Any], AttemptRow] = loader(AttemptSchema)
load_listing: Callable[[Any], ListingRow] = loader(ListingSchema)
load_hook: Callable[[Any], HookRow] = loader(HookSchema)


def is_uuid(text: str) -> bool:
    """Whether this is a uuid in lower case."""
    return _UUID.fullmatch(text) is not None


def pruned(row: Any) -> dict[str, Any]:
    """The declared members of a row and nothing else; {} for anything but an object.

    An object or list in place of text or a number becomes an empty one, which is just as unreadable.
    """
    return _pruned(row, _ATTEMPT) if isinstance(row, dict) else {}


def _pruned(members: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, field in schema.fields.items():
        value = members.get(name)
        if isinstance(field, fields.Nested) and isinstance(value, dict):
            kept[name] = _pruned(value, field.schema)
        elif isinstance(value, dict | list):
            kept[name] = type(value)()
        elif name in members:
            kept[name] = value
    return kept


_ATTEMPT = AttemptSchema()
