"""Registering, listing and cancelling watches, with the schemas that the command line and the API share."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from bridge import clock
from bridge.polling.expectations import Expectation
from bridge.polling.watches import ATTEMPT, EXPECTATION, POINTER, REREAD, UNGRADED, OpenWatch
from bridge.sdk.vendor import Pointer
from bridge.services import Services
from bridge.text import did_you_mean, text_problem
from schemas.event import format_time

__all__ = [
    "STATES",
    "Moment",
    "NewWatch",
    "WatchRow",
    "cancel",
    "find",
    "parse_watch_id",
    "register",
    "rows",
    "sound",
    "watch_id",
]

#: Time from due to deadline of an expectation that is registered without a deadline, seconds.
DEFAULT_DEADLINE_SECONDS = 7 * 86_400.0
STATES = ("open", "overdue", "expanded")
_LABEL_LENGTH = 200
#: Longer than any id or e-mail address.
_WORD_LENGTH = 500


def sound(text: str) -> None:
    """A marshmallow validator: raises `ValidationError` for text that no event, key or address can hold."""
    problem = text_problem(text)
    if problem:
        raise ValidationError(problem)


class _Text(fields.String):
    """Text, or a number as its digits: ids are written either way."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        plain = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        return str(super()._deserialize(plain, *args, **kwargs)).strip()


class Moment(fields.AwareDateTime):
    """A time or a date in ISO 8601; without a zone it is UTC, a date alone means its midnight."""

    def __init__(self, description: str) -> None:
        metadata = {
            "description": f"{description} A date alone means its midnight; without a zone it is UTC.",
            "anyOf": [{"format": "date-time"}, {"format": "date"}, {"type": "null"}],
            "examples": ["2099-12-01T12:00:00Z", "2099-12-03"],
        }
        super().__init__(default_timezone=UTC, allow_none=True, metadata=metadata)


class NewWatch(Schema):
    """An expectation to register. Times without a zone are UTC."""

    source = fields.String(required=True, validate=sound, metadata={"description": "A configured source."})
    reference = fields.Dict(
        keys=fields.String(validate=sound),
        values=_Text(
            validate=[validate.Length(min=1, max=_WORD_LENGTH), sound], metadata={"type": ["string", "integer"]}
        ),
        required=True,
        metadata={"description": "What identifies the attempt at the vendor; see docs/vendors.md."},
    )
    due = Moment("When to recheck first; default: now.")
    deadline = Moment("When it is overdue; default: a week after `due`.")
    label = fields.String(
        allow_none=True,
        validate=[validate.Length(max=_LABEL_LENGTH), sound],
        metadata={"description": "Your own text; the event has it as data.extensions.expectation."},
    )


def _shown_time(description: str, *, allow_none: bool = False) -> fields.String:
    return fields.String(
        required=True, allow_none=allow_none, metadata={"description": description, "format": "date-time"}
    )


class WatchRow(Schema):
    """A watch as it is shown. `kind`: attempt, expectation, pointer, ungraded or reread (docs/architecture.md)."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "Names the watch in this API."})
    source = fields.String(required=True, metadata={"description": "The configured source."})
    key = fields.String(
        required=True, metadata={"description": "The attempt id, or with a leading `?` a key for several attempts."}
    )
    kind = fields.String(
        required=True,
        validate=validate.OneOf((ATTEMPT, EXPECTATION, POINTER, UNGRADED, REREAD)),
        metadata={"description": "Why it is watched; docs/architecture.md explains each."},
    )
    state = fields.String(
        required=True,
        validate=validate.OneOf(STATES),
        metadata={"description": "`expanded`: a schedule whose candidates are watched one by one."},
    )
    reference = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "What identifies the attempt at the vendor."},
    )
    label = fields.String(required=True, allow_none=True, metadata={"description": "Your text of an expectation."})
    due = _shown_time("Time of the first recheck of an expectation.", allow_none=True)
    deadline = _shown_time("When it is overdue.")
    next_look = _shown_time("Next recheck.", allow_none=True)
    looks = fields.Integer(required=True, metadata={"description": "Number of rechecks so far."})
    opened_at = _shown_time("When the watch was opened or registered.")


def watch_id(source: str, key: str) -> str:
    """The id of a watch: source and key in URL-safe base64."""
    return base64.urlsafe_b64encode(f"{source}/{key}".encode()).decode().rstrip("=")


def parse_watch_id(text: str) -> tuple[str, str] | None:
    """Source and key of a watch id, or None if the text is not one."""
    try:
        source, _, key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition("/")
    except ValueError:
        return None
    return (source, key) if source and key else None


def register(services: Services, documents: Sequence[Mapping[str, Any]], *, now: float) -> list[dict[str, Any]]:
    """Register the loaded `NewWatch` documents, all or none; their rows.

    Every process of the bridge knows them after `bridge.polling.expectations.KNOWN_AFTER_SECONDS`. Raises
    `StateUnavailable`, and `ValidationError` with the position of each invalid document as key.
    """
    checked, problems = [], {}
    for number, document in enumerate(documents):
        try:
            checked.append(_checked(services, document, now))
        except ValidationError as error:
            problems[number] = error.messages
    if problems:
        raise ValidationError(problems)
    registered = []
    for source, pointer, label, due, deadline in checked:
        (expected,) = services.expectations.expect(source, [pointer], label=label, due=due, deadline=deadline, now=now)
        registered.append(_row(source, expected, None))
    return registered


def rows(services: Services, sources: Sequence[str]) -> list[dict[str, Any]]:
    """All watches of the sources, overdue ones first, then by their next recheck."""
    result = []
    for source in sources:
        expected = {expectation.key: expectation for expectation in services.expectations.list(source)}
        watches = {watch.key: watch for watch in services.watches.list(source)}
        for key in expected.keys() | watches.keys():
            result.append(_row(source, expected.get(key), watches.get(key)))
    return sorted(result, key=lambda row: (row["next_look"] or "", row["source"], row["key"]))


def find(services: Services, ident: str) -> dict[str, Any] | None:
    """One watch by its id, or None."""
    named = parse_watch_id(ident)
    if named is None or named[0] not in services.config.sources:
        return None
    return next((row for row in rows(services, [named[0]]) if row["id"] == ident), None)


def cancel(services: Services, ident: str, *, now: float) -> bool:
    """Stop rechecking; False if there is no such watch."""
    if find(services, ident) is None or (named := parse_watch_id(ident)) is None:
        return False
    services.expectations.cancel(named[0], [named[1]])
    return True


def _checked(
    services: Services, document: Mapping[str, Any], now: float
) -> tuple[str, Pointer, str | None, float, float]:
    name = document["source"]
    source = services.config.sources.get(name)
    if source is None:
        raise ValidationError({"source": [f'"{name}" is not a source. {did_you_mean(name, services.config.sources)}']})
    vendor = services.vendors[source.vendor]
    if vendor.expect is None:
        raise ValidationError({"source": [f"{vendor.title} cannot look up a single attempt"]})
    given = document["reference"]
    for member in given:
        if member not in vendor.reference_help:
            known = did_you_mean(member, vendor.reference_help)
            raise ValidationError(
                {"reference": [f'"{member}" is not a member of a reference of {vendor.title}. {known}']}
            )
    try:
        pointer = vendor.expect(given, source.options)
    except ValueError as error:
        raise ValidationError({"reference": [str(error)]}) from error
    due = _seconds(document.get("due"), now)
    deadline = _seconds(document.get("deadline"), due + DEFAULT_DEADLINE_SECONDS)
    if deadline <= max(due, now):
        raise ValidationError({"deadline": ["is in the past or before `due`. Give a later one"]})
    return name, pointer, document.get("label"), due, deadline


def _seconds(moment: datetime | None, default: float) -> float:
    return default if moment is None else moment.timestamp()


def _row(source: str, expected: Expectation | None, watch: OpenWatch | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "source": source,
        "kind": EXPECTATION,
        "state": "open",
        "label": None,
        "due": None,
        "next_look": None,
    }
    if watch is not None:
        row |= {"kind": watch.kind, "looks": watch.rechecks, "next_look": _iso(watch.due), **_named(source, watch.key)}
        row |= {"reference": watch.reference, "deadline": _iso(watch.give_up_at), "opened_at": _iso(watch.opened_at)}
    if expected is not None:
        row |= {"state": expected.state, "label": expected.label, "reference": expected.reference}
        row |= {"due": _iso(expected.due), "deadline": _iso(expected.deadline), **_named(source, expected.key)}
        row |= {"opened_at": _iso(expected.registered_at), "looks": row.get("looks", 0)}
        if watch is None and expected.state == "open":
            row["next_look"] = row["due"]
    return {name: row[name] for name in WatchRow._declared_fields}


def _named(source: str, key: str) -> dict[str, str]:
    return {"id": watch_id(source, key), "key": key}


def _iso(moment: float) -> str:
    return format_time(clock.to_datetime(moment))
