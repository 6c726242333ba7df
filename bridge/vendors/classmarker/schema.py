"""Schemas of what ClassMarker sends: one result, declared once for webhooks and polls, and the API's envelope.

Members that we do not publish (questions, feedback, addresses of networks) are not declared and so not loaded.
Source of the members: the vendor's webhook and API pages, `QUIRKS.md` section "Sources".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from marshmallow import fields

from bridge.sdk.compiled_schema import (
    Duration,
    Flag,
    Identifier,
    Number,
    Percentage,
    Text,
    UnixTime,
    VendorSchema,
    WholeNumber,
    loader,
)
from bridge.vendors.classmarker.rows import AnswerRow, GroupRecordRow, HeadRow, LinkRecordRow

__all__ = ["load_answer", "load_group_record", "load_head", "load_link_record"]


class HeadSchema(VendorSchema):
    """What a webhook is, read before its result."""

    payload_type = Text(required=True)
    payload_status = Text(required=True)


class TestSchema(VendorSchema):
    test_id = Identifier(required=True)
    test_name = Text()

    __test__ = False  # the name would make pytest collect it


class GroupSchema(VendorSchema):
    group_id = Identifier(required=True)
    group_name = Text()


class LinkSchema(VendorSchema):
    link_id = Identifier(required=True)
    link_name = Text()


class CategorySchema(VendorSchema):
    category_id = WholeNumber()
    name = Text()
    percentage = Percentage()
    points_available = Number()
    points_scored = Number()


class ResultSchema(VendorSchema):
    """What group and link results share. `status` and `test_type` come only by poll."""

    first = Text()
    last = Text()
    email = Text()
    percentage = Percentage()
    points_scored = Number()
    points_available = Number()
    requires_grading = Flag()
    time_finished = UnixTime()
    duration = Duration()
    percentage_passmark = Percentage()
    passed = Flag()
    certificate_url = Text()
    certificate_serial = Text()
    view_results_url = Text()
    status = Text()
    test_type = Text()


class GroupResultSchema(ResultSchema):
    user_id = Identifier(required=True)
    #: Part of the identity here, so it is required.
    time_started = UnixTime(required=True)


class LinkResultSchema(ResultSchema):
    """The webhook has `access_code_used` and `extra_info_answer`, the poll `access_code` and `extra_info`."""

    link_result_id = Identifier(required=True)
    time_started = UnixTime()
    cm_user_id = Text()
    access_code = Text()
    access_code_used = Text()
    extra_info = Text()
    extra_info2 = Text()
    extra_info3 = Text()
    extra_info4 = Text()
    extra_info5 = Text()
    extra_info_answer = Text()
    extra_info2_answer = Text()
    extra_info3_answer = Text()
    extra_info4_answer = Text()
    extra_info5_answer = Text()


class GroupRecordSchema(VendorSchema):
    """A group result as in a webhook; the client gives poll rows the same form. Categories: webhook only."""

    test = fields.Nested(TestSchema, required=True)
    group = fields.Nested(GroupSchema, required=True)
    result = fields.Nested(GroupResultSchema, required=True)
    category_results = fields.List(fields.Nested(CategorySchema, allow_none=True), load_default=None, allow_none=True)


class LinkRecordSchema(VendorSchema):
    """A link result, likewise."""

    test = fields.Nested(TestSchema, required=True)
    link = fields.Nested(LinkSchema, required=True)
    result = fields.Nested(LinkResultSchema, required=True)
    category_results = fields.List(fields.Nested(CategorySchema, allow_none=True), load_default=None, allow_none=True)


class AnswerSchema(VendorSchema):
    """The envelope of every API answer. Rows and their optional names are not parsed: each row is loaded separately, so
    neither a bad row nor an odd member that is not needed loses a page."""

    status = Text(required=True)
    server_timestamp = fields.Raw(load_default=None, allow_none=True)
    error = fields.Raw(load_default=None, allow_none=True)
    groups = fields.Raw(load_default=None, allow_none=True)
    links = fields.Raw(load_default=None, allow_none=True)
    tests = fields.Raw(load_default=None, allow_none=True)
    results = fields.Raw(load_default=None, allow_none=True)
    more_results_exist = Flag()
    access_lists = fields.Raw(load_default=None, allow_none=True)


load_head: Callable[[Any], HeadRow] = loader(HeadSchema)
load_group_record: Callable[[Any], GroupRecordRow] = loader(GroupRecordSchema)
load_link_record: Callable[[Any], LinkRecordRow] = loader(LinkRecordSchema)
load_answer: Callable[[Any], AnswerRow] = loader(AnswerSchema)
