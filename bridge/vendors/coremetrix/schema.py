"""Schemas of what Coremetrix sends: an attempt of the report API, a webhook, and a webhook about consent.

Members that we do not publish are not declared, hence not loaded: `user` (a credit applicant's profile),
`clientInfo`, `timings.landing` (may be months before the attempt). Source: `QUIRKS.md`, section "Sources".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from marshmallow import fields

from bridge.sdk.compiled_schema import Flag, IsoTime, Number, Text, TolerantField, UnixMillis, VendorSchema, loader
from bridge.vendors.coremetrix.rows import AttemptRow, ConsentRow, HookRow

__all__ = ["Person", "Uuid", "load_attempt", "load_consent", "load_hook", "read_moment"]

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Moment(IsoTime):
    """Epoch milliseconds (the API) or ISO 8601 (webhooks; without an offset it is UTC)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(assume_utc=True, numbers=(UnixMillis,), **options)


#: The same for one value: None for "". Raises ValueError.
read_moment: Callable[[Any], datetime | None] = Moment().convert


class Uuid(TolerantField):
    """A uuid as text in lower case, stripped."""

    @staticmethod
    def convert(value: Any) -> str | None:
        text = (Text.convert(value) or "").strip().lower()
        if text and not _UUID.fullmatch(text):
            raise ValueError(f"must be a uuid, got text of {len(text)} characters")
        return text or None


class Person(TolerantField):
    """The company's own id of a person, stripped; the vendor passes on what it was given."""

    @staticmethod
    def convert(value: Any) -> str | None:
        return (Text.convert(value) or "").strip() or None


class Words(TolerantField):
    """A sorted tuple of words from a list of text or a single text; blank words are dropped."""

    @staticmethod
    def convert(value: Any) -> tuple[str, ...]:
        listed = value if isinstance(value, list) else [value]
        words = ((Text.convert(item) or "").strip() for item in listed if item is not None)
        return tuple(sorted({word for word in words if word}))


class TimingsSchema(VendorSchema):
    """The vendor's table of timings calls `end` also `complete`."""

    loaded = Moment(data_key="load")  # marshmallow itself has a `load`
    start = Moment()
    finish = Moment(data_key="end")
    complete = Moment()


class ScoreSchema(VendorSchema):
    model = Text()
    value = Number()


class AttemptSchema(VendorSchema):
    """One attempt. `customId` is next to the list of attempts; the client copies it into each."""

    id = Uuid(required=True)
    quiz_id = Uuid(required=True, data_key="quizId")
    status = Text(required=True)
    custom_id = Person(data_key="customId")
    name = Text()
    flags = Words(load_default=())
    timings = fields.Nested(TimingsSchema, load_default=dict, allow_none=True)
    scores = fields.List(fields.Nested(ScoreSchema, allow_none=True), load_default=list, allow_none=True)


class HookSchema(VendorSchema):
    """A webhook. The members of the six progress events are not documented, so all but the event may be missing.

    `id` may be an attempt's or anything else: it is only used as a pointer.
    """

    event = Text(required=True)
    puid = Person()
    quiz_id = Text(data_key="quizId")
    attempt_id = Text(data_key="attemptId")
    id = Text()


class _MaybeUuid(Uuid):
    """A uuid, or None for anything else: a withdrawal must not fail because of how it names the quiz."""

    @staticmethod
    def convert(value: Any) -> str | None:
        try:
            return Uuid.convert(value)
        except ValueError:
            return None


class _MaybeMoment(Moment):
    """A time, or None for anything else: likewise."""

    def convert(self, value: Any) -> datetime | None:  # type: ignore[override] # as of `IsoTime`
        try:
            return super().convert(value)
        except ValueError:
            return None


class ConsentSchema(VendorSchema):
    puid = Person(required=True)
    quiz_id = _MaybeUuid(data_key="quizId")
    consent = Flag()
    consent_time = _MaybeMoment(data_key="consentTime")
    withdrawal_time = _MaybeMoment(data_key="withdrawalTime")
    last_updated = _MaybeMoment(data_key="lastUpdated")


load_attempt: Callable[[Any], AttemptRow] = loader(AttemptSchema)
load_hook: Callable[[Any], HookRow] = loader(HookSchema)
load_consent: Callable[[Any], ConsentRow] = loader(ConsentSchema)
