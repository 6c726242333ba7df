"""The kinds of values in bridge.yaml as marshmallow fields, each with one clear sentence for a wrong one.

Which keys there are is in `bridge/config/schemas.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any
from urllib.parse import SplitResult, urlsplit

from marshmallow import ValidationError, fields
from marshmallow.validate import OneOf, Range

from bridge.config.yaml_document import Reference
from bridge.errors import clip

__all__ = [
    "Duration",
    "Secret",
    "Text",
    "TimeOfDay",
    "choice",
    "did_you_mean",
    "duration_text",
    "flag",
    "kind_of",
    "number",
    "one_or_many",
    "parse_duration",
    "parse_time_of_day",
    "split_address",
    "time_of_day_text",
    "whole_number",
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_REQUIRED: dict[str, Any] = {"required": "missing"}


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """A suggestion for a mistyped word, or the list of those that are known."""
    names = sorted(known)
    close = get_close_matches(str(given), names, n=1)
    return f'Did you mean "{close[0]}"?' if close else f"Known: {', '.join(names) or 'none'}"


def kind_of(value: object) -> str:
    """What a YAML value is, in an operator's words."""
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a section"}
    return next(
        (word for kind, word in kinds.items() if isinstance(value, kind)), "nothing" if value is None else "a date"
    )


def parse_duration(text: object) -> float:
    """`250ms 5s 10m 2h 7d` in seconds. Raises `ValidationError`."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValidationError(
            f'"{clip(text, 40)}" is no duration; write a number and a unit, such as 250ms, 5s, 10m, 2h or 7d'
        )
    return float(found[1]) * _UNIT_SECONDS[found[2]]


def duration_text(seconds: float) -> str:
    """Seconds as the shortest exact duration: 300.0 is `5m`."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNIT_SECONDS[unit] and seconds % _UNIT_SECONDS[unit] == 0:
            return f"{seconds / _UNIT_SECONDS[unit]:.0f}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def parse_time_of_day(text: object) -> float:
    """`13:30` as seconds after midnight. Raises `ValidationError`."""
    found = _TIME_OF_DAY.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        # YAML takes 13:30 without quotes for a number to the base of 60.
        raise ValidationError(f'"{clip(text, 40)}" is no time of day; write it in quotes, in UTC, such as "13:30"')
    return int(found[1]) * 3600.0 + int(found[2]) * 60.0


def time_of_day_text(seconds: float) -> str:
    """Seconds after midnight as `13:30`."""
    return f"{seconds // 3600:02.0f}:{seconds % 3600 // 60:02.0f}"


def split_address(text: str) -> SplitResult:
    """An address in its parts, the port checked. Raises `ValidationError`."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # only reading it checks it
    except ValueError as error:
        raise ValidationError(f"is no address: {clip(error)}") from error
    return parts


class Text(fields.Field[str]):
    """Text that is not empty. `check` gives the problem with it, or None."""

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
            raise ValidationError("holds a line break or another character that cannot be seen; write it again by hand")
        problem = self.check(value) if self.check else None
        if problem:
            raise ValidationError(problem)
        return value


class Secret(Text):
    """Text that must not stand in the file itself."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> str:
        if isinstance(value, str) and not isinstance(value, Reference):
            raise ValidationError(
                "a secret must not stand in this file. Remedy: write ${ENV_NAME} and set that variable, or {file: path}"
            )
        return super()._deserialize(value, attr, data, **rest)


class Duration(fields.Field[float]):
    """A duration in seconds, from `least` to `most` (durations as text)."""

    default_error_messages = _REQUIRED

    def __init__(self, least: str = "1ms", most: str = "3650d", **options: Any) -> None:
        super().__init__(**options)
        self.least, self.most = least, most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> float:
        seconds = parse_duration(value)
        if not parse_duration(self.least) <= seconds <= parse_duration(self.most):
            raise ValidationError(f"{value} is out of range; {self.least} to {self.most} is allowed")
        return seconds


class TimeOfDay(fields.Field[float]):
    """A time of day in UTC, in seconds after midnight."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> float:
        return parse_time_of_day(value)


def flag() -> fields.Boolean:
    """Strictly true or false."""
    return fields.Boolean(truthy={True}, falsy={False}, error_messages={"invalid": "must be true or false"})


def whole_number(least: int, most: int) -> fields.Integer:
    """A whole number in a range."""
    message = f"must be a whole number from {least} to {most}"
    return fields.Integer(
        strict=True,
        validate=Range(least, most, error=message),
        error_messages={"invalid": message, "too_large": message},
    )


def number(least: float, most: float) -> fields.Float:
    """A number in a range."""
    message = f"must be a number from {least:g} to {most:g}"
    return fields.Float(
        validate=Range(least, most, error=message), error_messages={"invalid": message, "special": message}
    )


def choice(*words: str, **options: Any) -> Text:
    """One of a few words."""
    return Text(validate=OneOf(words, error=f'"{{input}}" is none of {", ".join(words)}'), **options)


def one_or_many(value: Any) -> list[Any]:
    """A single value as a list of one, so that rotation needs no other shape."""
    return value if isinstance(value, list) else [value]
