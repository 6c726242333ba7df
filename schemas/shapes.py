"""The marshmallow declaration of the published event: dumps and loads the dataclasses of `schemas/event.py`.

The JSON Schemas are generated from these classes. Unknown members are dropped when loading: version 1.1 may add some.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from marshmallow import EXCLUDE, Schema, fields, post_dump, post_load, validate

from schemas import event
from schemas.types import Score, UtcTime, member, nullable

__all__ = ["FILLED", "DataSchema", "EnvelopeSchema", "EventSchema"]

STATUSES = ("completed", "voided")
GRADINGS = ("final", "provisional", "pending", "not_scored")
ORIGINS = ("webhook", "poll", "backfill", "bridge")

FILLED = validate.Length(min=1)
#: Version 00 of https://www.w3.org/TR/trace-context, as the bridge writes it: sampled or not.
TRACEPARENT = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$")
_NOT_NEGATIVE = validate.Range(min=0)


class _Shape(Schema):
    """Loads to `makes`, with tuples where the dataclass has tuples."""

    makes: ClassVar[type]

    class Meta:
        unknown = EXCLUDE

    @post_load
    def _make(self, loaded: dict[str, Any], **_: Any) -> Any:
        return self.makes(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in loaded.items()}
        )


class AttemptSchema(_Shape):
    """One sitting of one test by one candidate."""

    makes = event.Attempt

    id = fields.String(**member("Unique within its source; the same by webhook and poll."), validate=FILLED)
    revision = fields.Integer(
        **member("1, then one higher with each change of the result. Keep the highest."),
        strict=True,
        validate=validate.Range(min=1),
    )
    status = fields.String(**member("Whether the attempt counts."), validate=validate.OneOf(STATUSES))
    started_at = UtcTime(**nullable("When the candidate started."))
    completed_at = UtcTime(**nullable("When the candidate finished, by the vendor's clock."))
    duration_seconds = fields.Integer(**nullable("Time taken, whole seconds."), strict=True, validate=_NOT_NEGATIVE)


class CandidateSchema(_Shape):
    """Who took the test. The only personal data of the event."""

    makes = event.Candidate

    id = fields.String(**nullable("The vendor's id of the candidate."))
    external_id = fields.String(**nullable("Your id of the candidate, if the vendor was given it."))
    email = fields.String(**nullable("Null in the minimal projection."))
    name = fields.String(**nullable("Null in the minimal projection."))


class GroupSchema(_Shape):
    """Where the test was given."""

    makes = event.Group

    kind = fields.String(**member("link, group, schedule, course: the vendor's kind of group."))
    id = fields.String(**member("The vendor's id of the group."))
    name = fields.String(**nullable("Its name."))


class AssessmentSchema(_Shape):
    """The test that was taken."""

    makes = event.Assessment

    id = fields.String(**member("The vendor's id of the test."))
    name = fields.String(**nullable("Its name."))
    group = fields.Nested(GroupSchema, **nullable("Where it was given."))


class PreviousSchema(Schema):
    """A replaced result, as in the earlier event: plain JSON values."""

    class Meta:
        unknown = EXCLUDE

    score = fields.Float(**nullable("Points reached."))
    max_score = fields.Float(**nullable("Points that can be reached."))
    percentage = fields.Float(**nullable("0 to 100, as the vendor calculates it."))
    pass_mark_percentage = fields.Float(**nullable("The lowest percentage that passes."))
    passed = fields.Boolean(**nullable("The vendor's decision."))
    grade = fields.String(**nullable("The vendor's grade."))
    grading = fields.String(**member("How final it was."), validate=validate.OneOf(GRADINGS))


class ResultSchema(_Shape):
    """The result. Unknown is null, never a guess."""

    makes = event.Result

    score = Score(**nullable("Points reached."))
    max_score = Score(**nullable("Points that can be reached."))
    percentage = Score(**nullable("0 to 100, as the vendor calculates it."))
    pass_mark_percentage = Score(**nullable("The lowest percentage that passes."))
    passed = fields.Boolean(**nullable("The vendor's decision; null without a pass mark."))
    grade = fields.String(**nullable("The vendor's grade."))
    grading = fields.String(
        **member("How final the result is; anything but final may be revised."), validate=validate.OneOf(GRADINGS)
    )
    previous = fields.Nested(PreviousSchema, **nullable("On attempt.revised: the result that this one replaces."))


class SectionSchema(_Shape):
    """A scored part of the test; sections nest."""

    makes = event.Section

    id = fields.String(**nullable("The vendor's id of the section."))
    name = fields.String(**nullable("Its name."))
    score = Score(**nullable("Points reached."))
    max_score = Score(**nullable("Points that can be reached."))
    percentage = Score(**nullable("0 to 100, as the vendor calculates it."))
    passed = fields.Boolean(**nullable("The vendor's decision."))
    sections = fields.List(fields.Nested(lambda: SectionSchema()), **member("Its parts."))


class VendorFactsSchema(_Shape):
    """Where the attempt came from."""

    makes = event.VendorFacts

    name = fields.String(**member("The vendor."))
    source = fields.String(**member("The configured vendor account."))
    status = fields.String(**nullable("The vendor's own status."))
    ids = fields.Dict(keys=fields.String(), values=fields.String(), **member("The vendor's ids of the attempt."))


class LinksSchema(_Shape):
    """Addresses. All null in the minimal projection."""

    makes = event.Links

    report = fields.String(**nullable("The vendor's report."))
    certificate = fields.String(**nullable("The vendor's certificate."))


class DataSchema(_Shape):
    """The `data` of an event about an attempt, version 1.0."""

    makes = event.Data

    attempt = fields.Nested(AttemptSchema, **member("One sitting of one test by one candidate."))
    candidate = fields.Nested(CandidateSchema, **member("Who took it; the only personal data of the event."))
    assessment = fields.Nested(AssessmentSchema, **member("The test."))
    result = fields.Nested(ResultSchema, **member("The result; unknown is null, never a guess."))
    sections = fields.List(fields.Nested(SectionSchema), **member("Scored parts of the test."))
    flags = fields.List(fields.String(), **member("The vendor's remarks, such as proctoring incidents."))
    vendor = fields.Nested(VendorFactsSchema, **member("Where the attempt came from."))
    links = fields.Nested(LinksSchema, **member("Addresses."))
    extensions = fields.Dict(**member("Facts that only this vendor has, and the label of an expectation."))


class EnvelopeSchema(_Shape):
    """The attributes of a CloudEvents 1.0 event in structured JSON."""

    specversion = fields.String(**member("Version of CloudEvents."), validate=validate.Equal("1.0"))
    id = fields.String(
        **member("The same for every copy of an event; drop copies by `source` and `id`.", format="uuid")
    )
    source = fields.String(
        **member(
            "The configured vendor account: /<bridge>/sources/<source>; or /<bridge>/subscriptions/<name>.",
            format="uri-reference",
        ),
        validate=FILLED,
    )
    type = fields.String(**member("What happened."), validate=FILLED)
    subject = fields.String(**member("What it concerns."), validate=FILLED)
    time = UtcTime(**member("When it happened."))
    datacontenttype = fields.String(**member("Media type of `data`."), validate=validate.Equal("application/json"))
    dataschema = fields.String(**member("Where the schema of `data` can be read.", format="uri"))
    recordedtime = UtcTime(**member("When the bridge built the event."))
    partitionkey = fields.String(**member("Events of one subject share it: <source>/<subject>."), validate=FILLED)
    bridgevendor = fields.String(**member("The vendor; of subscription.* and bridge.test `bridge`."), validate=FILLED)
    bridgeorigin = fields.String(
        **member("The path by which it came first; `bridge`: the bridge itself says so."),
        validate=validate.OneOf(ORIGINS),
    )
    bridgetest = fields.Boolean(
        metadata={
            "description": "True: a test, such as one with an invented attempt; do not act on it. Otherwise absent."
        },
        validate=validate.Equal(True),
    )
    traceparent = fields.String(
        metadata={"description": "W3C trace context of what published it. Absent if the bridge does not trace."},
        validate=validate.Regexp(TRACEPARENT),
    )

    @post_dump
    def _without_defaults(self, dumped: dict[str, Any], **_: Any) -> dict[str, Any]:
        for name in ("bridgetest", "traceparent"):
            if not dumped.get(name):
                dumped.pop(name, None)
        return dumped


class EventSchema(EnvelopeSchema):
    """A CloudEvents 1.0 event in structured JSON about one attempt, version 1.0."""

    makes = event.Event

    type = fields.String(**member("What happened."), validate=validate.OneOf(event.ATTEMPT_TYPES))
    subject = fields.String(**member("The attempt id."), validate=FILLED)
    time = UtcTime(**member("When the attempt was completed, or when the bridge first saw it."))
    data = fields.Nested(DataSchema, **member("The attempt."))
