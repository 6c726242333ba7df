"""Members that the shapes of several resources have."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields

from bridge.text import text_problem

__all__ = ["Flag", "shown_time", "sound"]


def sound(text: str) -> None:
    """A marshmallow validator: raises `ValidationError` for text that no event, key or address can hold."""
    problem = text_problem(text)
    if problem:
        raise ValidationError(problem)


class Flag(fields.Boolean):
    """`true` or `false` of JSON and nothing else; marshmallow also takes 1, "on" and more."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


def shown_time(description: str, *, allow_none: bool = False) -> fields.String:
    """A time in an answer: ISO 8601, UTC, milliseconds."""
    return fields.String(
        required=True, allow_none=allow_none, metadata={"description": description, "format": "date-time"}
    )
