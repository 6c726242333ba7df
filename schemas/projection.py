"""The projection of an event to chosen fields below `data`, such as `result.passed` or `vendor.ids.test`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from marshmallow import fields

from schemas.shapes import DataSchema

__all__ = ["field_problem", "only", "sends_persons"]

#: Sent with every projection: without them a receiver could not tell a void or an older result.
_ALWAYS = ("attempt.id", "attempt.revision", "attempt.status")
#: Fields that name a person.
_PERSONAL = ("candidate.name", "candidate.email")


def field_problem(name: object) -> str | None:
    """What is wrong with the name of a field below `data`, or None."""
    if not isinstance(name, str) or not name:
        return "is not the name of a field below data; write it like result.passed"
    schema: Any = DataSchema()
    parts = name.split(".")
    for place, part in enumerate(parts):
        known = schema.fields if schema is not None else {}
        field = known.get(part)
        if field is None:
            before = ".".join(parts[:place])
            names = sorted(f"{before}.{each}" if before else each for each in known)
            close = get_close_matches(".".join(parts[: place + 1]), names, n=1)
            remedy = f'Did you mean "{close[0]}"?' if close else f"Known: {', '.join(names) or before}"
            return f'"{name[:60]}" is not a field below data. {remedy}'
        if isinstance(field, fields.Dict):
            return None if all(parts[place + 1 :]) else f'"{name[:60]}" ends with a dot. Remedy: remove it'
        schema = field.schema if isinstance(field, fields.Nested) else None
    return None


def only(event: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The event with these fields below `data`, and with id, revision and status of the attempt; others are absent.

    A field that an event does not have stays absent. Notices (`schemas/notices.py`) name nobody and stay as they are.
    """
    data = event["data"]
    if "candidate" not in data:
        return dict(event)
    chosen: dict[str, Any] = {}
    for name in (*_ALWAYS, *names):
        _copy(data, chosen, name.split("."))
    return {**event, "data": chosen}


def sends_persons(projection: str | tuple[str, ...]) -> bool:
    """Whether names or e-mail addresses of candidates are sent."""
    if isinstance(projection, str):
        return projection == "full"
    return any(name == "candidate" or name in _PERSONAL for name in projection)


def _copy(source: Any, target: dict[str, Any], path: list[str]) -> None:
    """Copy one field. Its parents become mappings in the target; a parent that is null is copied as null."""
    first, rest = path[0], path[1:]
    if not isinstance(source, Mapping) or first not in source:
        return
    value = source[first]
    if not rest or value is None:
        target[first] = value
        return
    inner = target.get(first, {})
    if inner is value:
        return  # all of it is sent already
    target[first] = dict(inner)
    _copy(value, target[first], rest)
