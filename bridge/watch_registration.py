"""Registering, listing and cancelling watches, with the schemas that the command line and the API share."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from bridge import clock
from bridge.errors import StateUnavailable
from bridge.polling.expectations import Expectation
from bridge.polling.watches import ATTEMPT, EXPECTATION, POINTER, REREAD, UNGRADED, OpenWatch, chunks
from bridge.services import Services
from bridge.text import did_you_mean, text_problem
from schemas.event import format_time

__all__ = [
    "STATES",
    "Moment",
    "NewWatch",
    "PartlyRegistered",
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
#: Times that can be registered, UNIX seconds: 2000-01-01 to 2100-01-01.
EARLIEST, LATEST = 946_684_800.0, 4_102_444_800.0
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


def _plausible(moment: datetime) -> None:
    """Far from the ends of the calendar, where a moment has no date in another zone."""
    if not EARLIEST <= moment.timestamp() < LATEST:
        first, last = (clock.to_datetime(moment).year for moment in (EARLIEST, LATEST))
        raise ValidationError(f"is not in the years {first} to {last - 1}. Give a time in these")


class Moment(fields.AwareDateTime):
    """A time or a date in ISO 8601; without a zone it is UTC, a date alone means its midnight."""

    def __init__(self, description: str) -> None:
        metadata = {
            "description": f"{description} A date alone means its midnight; without a zone it is UTC.",
            "anyOf": [{"format": "date-time"}, {"format": "date"}, {"type": "null"}],
            "examples": ["2099-12-01T12:00:00Z", "2099-12-03"],
        }
        super().__init__(default_timezone=UTC, allow_none=True, validate=_plausible, metadata=metadata)


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


class PartlyRegistered(StateUnavailable):
    """The state server failed after a part of the documents was registered."""


def register(services: Services, documents: Sequence[Mapping[str, Any]], *, now: float) -> list[dict[str, Any]]:
    """Register the loaded `NewWatch` documents, none if one of them is wrong; their rows.

    Every process of the bridge knows them after `bridge.polling.expectations.KNOWN_AFTER_SECONDS`. Raises
    `ValidationError` with the position of each invalid document as key; `StateUnavailable` if nothing was registered,
    `PartlyRegistered` if the state server failed on the way: they are stored in order, some hundred at a time.
    """
    checked, problems = [], {}
    for number, document in enumerate(documents):
        try:
            checked.append(_checked(services, document, now))
        except ValidationError as error:
            problems[number] = error.messages
    # Also what is answered is made before anything is stored: what cannot be shown cannot be cancelled.
    registered = [_row(source, expected, None) for source, expected in checked]
    if problems:
        raise ValidationError(problems)
    done = 0
    for part in chunks(checked):
        for name in dict.fromkeys(source for source, _ in part):
            expected = [item for source, item in part if source == name]
            try:
                services.expectations.register(name, expected, now=now)
            except StateUnavailable as error:
                if not done:
                    raise
                raise PartlyRegistered(
                    f"{error}. At least {done} of {len(checked)} attempts are registered. Remedy: do the same again "
                    "when it answers; what is registered already is only replaced"
                ) from error
            done += len(expected)
    return registered


def rows(
    services: Services, sources: Sequence[str], *, state: str | None = None, limit: int | None = None
) -> tuple[list[dict[str, Any]], int]:
    """Watches of the sources in a state or in any, overdue ones first, then by their next recheck; and their number.

    `limit`: maximum number of rows; only these are made.
    """
    results: list[tuple[float, str, str, Expectation | None, OpenWatch | None]] = []
    for source in sources:
        expected = {expectation.key: expectation for expectation in services.expectations.list(source)}
        watches = {watch.key: watch for watch in services.watches.list(source)}
        for key in expected.keys() | watches.keys():
            promise, watch = expected.get(key), watches.get(key)
            if state in (None, "open" if promise is None else promise.state):
                results.append((_next_recheck(promise, watch), source, key, promise, watch))
    results.sort(key=itemgetter(0, 1, 2))
    return [_row(source, promise, watch) for _, source, _, promise, watch in results[:limit]], len(results)


def find(services: Services, ident: str) -> dict[str, Any] | None:
    """One watch by its id, or None; it is looked up, not searched for."""
    named = _named_here(services, ident)
    if named is None:
        return None
    source, key = named
    expected, watch = services.expectations.get(source, key), services.watches.get(source, key)
    return None if expected is None and watch is None else _row(source, expected, watch)


def cancel(services: Services, idents: Sequence[str]) -> list[str]:
    """Stop rechecking the watches with these ids; the ids under which there is none. Raises `StateUnavailable`."""
    named = [_named_here(services, ident) for ident in idents]
    unknown = [ident for ident, name in zip(idents, named, strict=True) if name is None]
    for source in dict.fromkeys(name[0] for name in named if name is not None):
        keys = [name[1] for name in named if name is not None and name[0] == source]
        known = services.expectations.cancel(source, keys)
        unknown += [watch_id(source, key) for key, was_known in zip(keys, known, strict=True) if not was_known]
    return unknown


def _named_here(services: Services, ident: str) -> tuple[str, str] | None:
    named = parse_watch_id(ident)
    return named if named is not None and named[0] in services.config.sources and watch_id(*named) == ident else None


def _next_recheck(expected: Expectation | None, watch: OpenWatch | None) -> float:
    if watch is None:
        return expected.due if expected is not None and expected.state == "open" else -math.inf
    return watch.due


def _checked(services: Services, document: Mapping[str, Any], now: float) -> tuple[str, Expectation]:
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
    due, deadline = document.get("due"), document.get("deadline")
    first = now if due is None else due.timestamp()
    last = first + DEFAULT_DEADLINE_SECONDS if deadline is None else deadline.timestamp()
    if last <= max(first, now):
        raise ValidationError({"deadline": ["is in the past or before `due`. Give a later one"]})
    return name, Expectation(
        key=pointer.key,
        reference=pointer.reference,
        label=document.get("label"),
        due=first,
        deadline=last,
        registered_at=now,
    )


def _row(source: str, expected: Expectation | None, watch: OpenWatch | None) -> dict[str, Any]:
    row: dict[str, Any] = {"source": source, "kind": EXPECTATION, "state": "open"}
    row |= dict.fromkeys(("label", "due", "next_look"))
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
