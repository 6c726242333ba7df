"""The kinds of values in bridge.yaml as marshmallow fields; each describes a wrong value in one sentence.

The keys are in `bridge/config/schemas.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

from marshmallow import ValidationError, fields
from marshmallow.validate import OneOf, Range

from bridge.config.yaml_document import Reference
from bridge.errors import clip
from bridge.text import parse_duration, parse_time_of_day

__all__ = [
    "LOOPBACK",
    "Duration",
    "Moment",
    "Secret",
    "Text",
    "TimeOfDay",
    "choice",
    "flag",
    "kind_of",
    "number",
    "one_or_many",
    "split_address",
    "whole_number",
]

#: Hosts that are this machine: nobody else can read what is sent there.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_REQUIRED: dict[str, Any] = {"required": "missing"}
_FIRST_YEAR, _LAST_YEAR = 2000, 2100
_MOMENT_REMEDY = "Remedy: write it in UTC, such as 2026-12-31T00:00:00Z"


def kind_of(value: object) -> str:
    """The kind of a YAML value, in an operator's words."""
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a section"}
    return next(
        (word for kind, word in kinds.items() if isinstance(value, kind)), "nothing" if value is None else "a date"
    )


def split_address(text: str) -> SplitResult:
    """The parts of an address, its port checked. Raises `ValidationError`."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # checked only when it is read
    except ValueError as error:
        # Any other text may quote a part of the password.
        reason = str(error) if str(error).startswith("Port out of range") else ""
        remedy = "Remedy: check the port, and percent-encode special characters in the password, such as %2F for /"
        raise ValidationError(f"is not a valid address{reason and ': '}{reason}. {remedy}") from error
    return parts


class Text(fields.Field[str]):
    """Text that is not empty. `check` returns the problem with it, or None."""

    default_error_messages = _REQUIRED

    def __init__(self, check: Callable[[str], str | None] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.check = check

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str:
        if not isinstance(value, str):
            remedy = "; put it in quotes" if isinstance(value, int | float) else ""
            raise ValidationError(f"must be text, not {kind_of(value)}{remedy}")
        if not value.strip():
            raise ValidationError("is empty")
        if not value.isprintable():
            raise ValidationError("holds a line break or another invisible character. Remedy: type it again by hand")
        problem = self.check(value) if self.check else None
        if problem:
            raise ValidationError(problem)
        return value


class Secret(Text):
    """Text that must not be written in the file itself."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> str:
        if isinstance(value, str) and not isinstance(value, Reference):
            raise ValidationError(
                "a secret must not be in this file. Remedy: write ${ENV_NAME} and set that variable, or {file: path}"
            )
        return super()._deserialize(value, attr, data, **rest)


class Duration(fields.Field[float]):
    """A duration in seconds, from `least` to `most` (durations as text)."""

    default_error_messages = _REQUIRED

    def __init__(self, least: str = "1ms", most: str = "3650d", **options: Any) -> None:
        super().__init__(**options)
        self.least, self.most = least, most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> float:
        seconds = _parsed(parse_duration, value)
        if not parse_duration(self.least) <= seconds <= parse_duration(self.most):
            raise ValidationError(f"{value} is out of range; {self.least} to {self.most} is allowed")
        return seconds


def _parsed(parse: Callable[[object], float], value: object) -> float:
    try:
        return parse(value)
    except ValueError as error:
        raise ValidationError(str(error)) from error


class Moment(fields.Field[float]):
    """An ISO 8601 date or time as UNIX seconds; UTC without a zone. A date is its beginning."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> float:
        # YAML reads an unquoted date or time as such.
        text = value.isoformat() if isinstance(value, date) else value
        if not isinstance(text, str):
            raise ValidationError(f"must be a date or time, not {kind_of(value)}. {_MOMENT_REMEDY}")
        # The value of a reference may be a secret.
        shown = "its value" if isinstance(text, Reference) else f'"{clip(text, 40)}"'
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise ValidationError(f"{shown} is not a date or time. {_MOMENT_REMEDY}") from error
        if not _FIRST_YEAR <= moment.year < _LAST_YEAR:
            raise ValidationError(f"{shown} is not in the years {_FIRST_YEAR} to {_LAST_YEAR - 1}")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class TimeOfDay(fields.Field[float]):
    """A time of day in UTC, in seconds after midnight."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> float:
        return _parsed(parse_time_of_day, value)


def flag() -> fields.Boolean:
    """Exactly true or false."""
    return fields.Boolean(truthy={True}, falsy={False}, error_messages={"invalid": "must be true or false"})


def whole_number(least: int, most: int, *, required: bool = False) -> fields.Integer:
    """A whole number in a range."""
    message = f"must be a whole number from {least} to {most}"
    return fields.Integer(
        strict=True,
        required=required,
        validate=Range(least, most, error=message),
        error_messages={**_REQUIRED, "invalid": message, "too_large": message},
    )


def number(least: float, most: float) -> fields.Float:
    """A number in a range."""
    message = f"must be a number from {least:g} to {most:g}"
    return fields.Float(
        validate=Range(least, most, error=message), error_messages={"invalid": message, "special": message}
    )


def choice(*words: str, **options: Any) -> Text:
    """Text that is one of these words."""
    return Text(validate=OneOf(words, error=f'"{{input}}" is not one of {", ".join(words)}'), **options)


def one_or_many(value: Any) -> list[Any]:
    """The list, or a single value as a list, so that secrets can be rotated."""
    return value if isinstance(value, list) else [value]
