"""The marshmallow declaration of notices: dumps and loads `schemas/notices.py`. The JSON Schemas are generated from it.

Unknown members are dropped when loading, so that version 1.1 may add some.
"""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from schemas import notices
from schemas.shapes import FILLED, EnvelopeSchema
from schemas.types import UtcTime, member, nullable

__all__ = ["NoticeDataSchema", "NoticeSchema"]

WATCH_KINDS = ("attempt", "expectation", "pointer", "ungraded")
ALARM_STATES = ("raised", "recovered")

#: Type of a notice -> the one member of its `data`.
MEMBERS = {
    notices.OVERDUE: "watch",
    notices.CONSENT_WITHDRAWN: "consent",
    **dict.fromkeys(notices.ALARM_TYPES, "alarm"),
    **dict.fromkeys(notices.SUBSCRIPTION_TYPES, "subscription"),
    notices.TEST: "test",
}
_NOT_NEGATIVE = validate.Range(min=0)


def _having(name: str) -> dict[str, Any]:
    """An object with this member; type and member are named because strict validators ask for them."""
    return {"type": "object", "properties": {name: {}}, "required": [name]}


class _Part(Schema):
    class Meta:
        unknown = EXCLUDE


class WatchSchema(_Part):
    """The watch that passed its deadline."""

    key = fields.String(
        **member("The attempt id; with a leading `?` a key that may mean several attempts."), validate=FILLED
    )
    kind = fields.String(
        **member("An open attempt, an operator's expectation, a pointer from a webhook, or an attempt not graded yet."),
        validate=validate.OneOf(WATCH_KINDS),
    )
    reference = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        **member("What the vendor's API was asked for, without e-mail addresses."),
    )
    label = fields.String(**nullable("Your label of the expectation."))
    opened_at = UtcTime(**member("When the watch was opened."))
    due = UtcTime(**member("When it was expected, or rechecked last."))
    deadline = UtcTime(**member("When rechecking ended."))
    looks = fields.Integer(**member("How often the vendor was asked."), strict=True, validate=_NOT_NEGATIVE)


class ConsentSchema(_Part):
    """Consent that was withdrawn."""

    subject = fields.Dict(
        keys=fields.String(), values=fields.String(), **member("The person, by ids of the vendor only.")
    )
    withdrawn_at = UtcTime(**member("When it was withdrawn, by the vendor's clock."))
    attempts_voided = fields.Integer(
        **member("Number of published attempts that were voided; each has an event of its own."),
        strict=True,
        validate=_NOT_NEGATIVE,
    )


class AlarmSchema(_Part):
    """A problem of a source, or its end."""

    state = fields.String(
        **member("raised when it begins and every day while it lasts, recovered when it is over."),
        validate=validate.OneOf(ALARM_STATES),
    )
    since = UtcTime(**member("When the problem began."))
    fact = fields.String(**member("What is wrong."), validate=FILLED)
    value = fields.String(**member("What was measured."), validate=FILLED)
    remedy = fields.String(**member("What to do about it."), validate=FILLED)


class SubscriptionNoticeSchema(_Part):
    """A subscription that fails, that recovered, or that was disabled."""

    name = fields.String(**member("Name of the subscription."), validate=FILLED)
    since = UtcTime(**member("When the problem began."))
    fact = fields.String(**member("What is or was wrong."), validate=FILLED)
    value = fields.String(**member("What was measured."), validate=FILLED)
    remedy = fields.String(**member("What to do about it."), validate=FILLED)


class SubscriptionTestSchema(_Part):
    """A test of a subscription by an operator."""

    subscription = fields.String(**member("Name of the subscription."), validate=FILLED)
    text = fields.String(**member("What this is, for people."), validate=FILLED)


class NoticeDataSchema(_Part):
    """The `data` of a notice, version 1.0: the one member that belongs to its type."""

    #: What the fields cannot express; copied into the JSON Schema.
    also: ClassVar[dict[str, Any]] = {"oneOf": [_having(name) for name in dict.fromkeys(MEMBERS.values())]}

    watch = fields.Nested(WatchSchema, metadata={"description": "On attempt.overdue."})
    consent = fields.Nested(ConsentSchema, metadata={"description": "On consent.withdrawn."})
    alarm = fields.Nested(AlarmSchema, metadata={"description": "On source.*."})
    subscription = fields.Nested(SubscriptionNoticeSchema, metadata={"description": "On subscription.*."})
    test = fields.Nested(SubscriptionTestSchema, metadata={"description": "On bridge.test."})


class NoticeSchema(EnvelopeSchema):
    """A CloudEvents 1.0 event in structured JSON about something other than a result, version 1.0."""

    makes = notices.NoticeEvent
    also: ClassVar[dict[str, Any]] = {
        "oneOf": [
            {"type": "object", "properties": {"type": {"const": kind}, "data": _having(name)}}
            for kind, name in MEMBERS.items()
        ]
    }

    type = fields.String(**member("What happened."), validate=validate.OneOf((*notices.NOTICE_TYPES, notices.TEST)))
    subject = fields.String(
        **member("Key of the watch or of the consent; for an alarm or a test what it is about."), validate=FILLED
    )
    data = fields.Nested(NoticeDataSchema, **member("The one member that belongs to the type."))

    @validates_schema
    def _has_its_member(self, loaded: dict[str, Any], **_: Any) -> None:
        if MEMBERS[loaded["type"]] not in loaded["data"]:
            raise ValidationError(f"{loaded['type']}: member {MEMBERS[loaded['type']]} is missing", "data")
