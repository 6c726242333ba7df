"""The fields by which events are filtered, in lists and in replays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cached_property
from typing import Any

from bridge.journal.entries import BACKFILL, BRIDGE, POLL, WEBHOOK, StoredEvent
from bridge.query import Boolean, Enum, Field, Fields, Glob, Number, Text, Time
from schemas.event import ATTEMPT_TYPES
from schemas.notices import NOTICE_TYPES

__all__ = ["EventItem", "event_fields"]


class EventItem:
    """An event whose JSON is parsed when a filter needs it."""

    def __init__(self, stored: StoredEvent, *, persons: bool = True) -> None:
        """`persons`: what may name a person may be read; some vendors' attempt ids hold an e-mail address."""
        self.stored = stored
        self.persons = persons

    @cached_property
    def document(self) -> dict[str, Any]:
        """The event; empty if its bytes cannot be read."""
        try:
            document = json.loads(self.stored.event)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def recorded_at(self) -> float:
        """UNIX seconds at which it was appended to the journal."""
        return int(self.stored.entry_id.partition("-")[0]) / 1000

    @property
    def built_at(self) -> float:
        """UNIX seconds at which it was built: when its webhook was received. 0.0 if it does not have it."""
        return _moment(self.member("recordedtime")) or 0.0

    @property
    def attempt(self) -> str | None:
        """The attempt's id."""
        attempt: str | None = self.shown(self.stored.attempt)
        return attempt

    def member(self, *path: str) -> Any:
        """A member of the event's JSON; None if it has none."""
        value: Any = self.document
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return self.shown(value)

    def shown(self, value: Any) -> Any:
        """The value; None if it is an e-mail address that may not be read."""
        return None if not self.persons and isinstance(value, str) and "@" in value else value


def event_fields(*, persons: bool) -> Fields:
    """The fields of events. `persons`: the caller may see names, e-mail addresses and labels, and so filter by them."""
    fields = [*_plain_fields(), *_result_fields()]
    if persons:
        fields += [
            _data("name", Text(), "the candidate's name", "candidate", "name"),
            _data("email", Text(), "the candidate's e-mail address", "candidate", "email"),
            _data("label", Glob(), "the label of an expected attempt", "extensions", "expectation"),
        ]
    return Fields(*fields, search=_texts_with_persons if persons else _texts)


def _plain_fields() -> list[Field]:
    return [
        Field("type", Glob((*ATTEMPT_TYPES, *NOTICE_TYPES)), _stored("type"), "type of the event"),
        Field("source", Glob(), _stored("source"), "name of the source"),
        Field("attempt", Glob(), lambda item: item.attempt, "the attempt's id"),
        Field("id", Glob(), _stored("id"), "the event's id"),
        Field("recorded", Time(), lambda item: item.recorded_at, "when the bridge recorded it"),
        _json("vendor", Glob(), "name of the vendor", "bridgevendor"),
        _json("origin", Enum(WEBHOOK, POLL, BACKFILL, BRIDGE), "which path brought it", "bridgeorigin"),
        Field("test", Boolean(), lambda item: "bridgetest" in item.document, "whether it is a test", costly=True),
        _data("candidate", Glob(), "the candidate's id, the vendor's or yours", *_CANDIDATE_IDS),
    ]


def _result_fields() -> list[Field]:
    return [
        _data("status", Enum("completed", "voided"), "status of the attempt", "attempt", "status"),
        _data("revision", Number(), "revision of the attempt", "attempt", "revision"),
        Field("completed", Time(), _completed, "when the attempt was completed", costly=True),
        _data("assessment", Glob(), "id or name of the test", *_ASSESSMENT),
        _data("passed", Boolean(), "whether it was passed", "result", "passed"),
        _data("percentage", Number(), "percentage", "result", "percentage"),
        _data("score", Number(), "points", "result", "score"),
        _data("grade", Glob(), "the vendor's grade", "result", "grade"),
        _data("grading", Enum("final", "provisional", "pending", "not_scored"), "grading", "result", "grading"),
        _data("flag", Glob(), "what is odd about the result", "flags"),
    ]


#: Two members of one object, of which either may match.
_CANDIDATE_IDS = ("candidate", ("id", "external_id"))
_ASSESSMENT = ("assessment", ("id", "name"))


def _stored(name: str) -> Callable[[EventItem], Any]:
    return lambda item: getattr(item.stored, name)


def _json(name: str, kind: Any, meaning: str, *path: Any) -> Field:
    def read(item: EventItem) -> Any:
        if isinstance(path[-1], tuple):
            return [value for last in path[-1] if (value := item.member(*path[:-1], last)) is not None]
        return item.member(*path)

    return Field(name, kind, read, meaning, costly=True)


def _data(name: str, kind: Any, meaning: str, *path: Any) -> Field:
    return _json(name, kind, meaning, "data", *path)


def _completed(item: EventItem) -> float | None:
    return _moment(item.member("data", "attempt", "completed_at"))


def _moment(text: Any) -> float | None:
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


def _texts(item: EventItem) -> Iterable[str | None]:
    """What free text is searched in: everything but names, e-mail addresses and labels."""
    stored, data = item.stored, _members(item.document, "data")
    candidate, assessment = _members(data, "candidate"), _members(data, "assessment")
    texts = (
        *(item.attempt, stored.id, stored.source, stored.type),
        *(candidate.get("id"), candidate.get("external_id")),
        *(assessment.get("id"), assessment.get("name"), _members(assessment, "group").get("name")),
        _members(data, "result").get("grade"),
    )
    return texts if item.persons else [item.shown(text) for text in texts]


def _texts_with_persons(item: EventItem) -> Iterable[str | None]:
    data = _members(item.document, "data")
    candidate = _members(data, "candidate")
    label = _members(data, "extensions").get("expectation")
    return (*_texts(item), candidate.get("name"), candidate.get("email"), label)


def _members(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}
