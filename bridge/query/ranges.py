"""Comparisons: `50`, `<50`, `>=50`, `40..60`, the same for times. Filters of subscriptions use them too."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from bridge.errors import clip
from bridge.text import parse_duration

__all__ = ["NumberRange", "TimeRange", "parse_moment", "parse_number_range", "parse_time_range", "time_text"]

_Bound = TypeVar("_Bound")

_COMPARED = re.compile(r"(<=|>=|<|>|=)(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,9})?", re.ASCII)
_DURATION = re.compile(r"[\d.]+[a-zA-Z]+", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ]\d\d:\d\d(?P<second>:\d\d(?P<fraction>\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DAY, _MINUTE, _SECOND = 86_400_000, 60_000, 1000
#: Moments that can be written, UNIX milliseconds: from the last before 1970 to the last of 9999.
_EARLIEST, _LATEST = -1, 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class NumberRange:
    """The numbers from `low` to `high`; None: no bound. `open`: the single given bound is excluded."""

    low: float | None
    high: float | None
    open: bool = False

    def matches(self, value: object) -> bool:
        """Whether a value is a number in the range."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.open:
            return (self.low is None or value > self.low) and (self.high is None or value < self.high)
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        """As it is written in a filter."""
        if self.low is not None and self.high is not None:
            low, high = _number_text(self.low), _number_text(self.high)
            return low if low == high else f"{low}..{high}"
        equal = "" if self.open else "="
        return f"<{equal}{_number_text(self.high)}" if self.low is None else f">{equal}{_number_text(self.low)}"


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The moments from `low` to `high`, UNIX milliseconds, both included; None: no bound."""

    low: int | None
    high: int | None

    def matches(self, value: object) -> bool:
        """Whether a moment, UNIX seconds, lies in the range."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        moment = round(value * 1000)
        return (self.low is None or moment >= self.low) and (self.high is None or moment <= self.high)

    def __str__(self) -> str:
        """As it is written in a filter, without relative times."""
        if self.low is not None and self.high is not None:
            return f"{time_text(self.low)}..{time_text(self.high)}"
        return f"<={time_text(self.high)}" if self.low is None else f">={time_text(self.low)}"


def parse_number_range(text: str) -> NumberRange:
    """`50`, `<50`, `<=50`, `>50`, `>=50`, `40..60`, `40..`, `..60`. Raises `ValueError` with fact and remedy."""
    compared = _COMPARED.fullmatch(text)
    if compared is not None:
        sign, value = compared[1], _number(compared[2], text)
        if sign == "=":
            return NumberRange(value, value)
        is_open = len(sign) == 1
        return NumberRange(None, value, is_open) if sign[0] == "<" else NumberRange(value, None, is_open)
    low, high = _bounds(text, lambda part: _number(part, text))
    if low is not None and high is not None and low > high:
        raise ValueError(_reversed(text))
    return NumberRange(low, high)


def parse_time_range(text: str, now: float) -> TimeRange:
    """`2026-11-01` (that day), `2h` (the last two hours), `<`, `<=`, `>`, `>=` and `..` with both.

    `now`: UNIX seconds. Raises `ValueError` with fact and remedy.
    """
    compared = _COMPARED.fullmatch(text)
    if compared is not None:
        sign, (first, last) = compared[1], _stretch(compared[2], now)
        return {
            "=": TimeRange(first, last),
            "<": TimeRange(None, max(first - 1, _EARLIEST)),
            "<=": TimeRange(None, last),
            ">": TimeRange(min(last + 1, _LATEST), None),
            ">=": TimeRange(first, None),
        }[sign]
    if _DURATION.fullmatch(text):
        return TimeRange(_stretch(text, now)[0], None)
    low, high = _bounds(text, lambda part: _stretch(part, now))
    if low is not None and high is not None and low[0] > high[1]:
        raise ValueError(_reversed(text))
    return TimeRange(low[0] if low else None, high[1] if high else None)


def parse_moment(text: str, now: float) -> int:
    """`2h` (ago), `2026-11-01` (its first moment), `2026-11-01T08:30:00Z`: UNIX milliseconds, not before 1970.

    Without a zone it is UTC. Raises `ValueError` with fact and remedy.
    """
    return max(0, _stretch(text, now)[0])


def time_text(milliseconds: int | None) -> str:
    """UNIX milliseconds as `2026-11-01T08:30:00.000Z`."""
    if milliseconds is None:
        raise AssertionError("a range without bounds cannot be written")
    return (_EPOCH + milliseconds * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _bounds(text: str, read: Callable[[str], _Bound]) -> tuple[_Bound | None, _Bound | None]:
    """Both ends of `a..b`; the same twice without dots."""
    first, dots, last = text.partition("..")
    if not dots:
        value = read(text)
        return value, value
    if not first and not last:
        raise ValueError(f'"{clip(text, 40)}" has no bound. Write a..b, a.. or ..b')
    return (read(first) if first else None), (read(last) if last else None)


def _number(part: str, text: str) -> float:
    if not _NUMBER.fullmatch(part):
        raise ValueError(f'"{clip(text, 40)}" is not a number. Write 50, <50, <=50, >50, >=50 or 40..60')
    return float(part) + 0.0  # -0 is 0


def _stretch(text: str, now: float) -> tuple[int, int]:
    """First and last millisecond that a text means: those of a day, a minute, a second, or a moment twice."""
    match = _MOMENT.fullmatch(text)
    try:
        if match is None:
            first = max(0, round((now - parse_duration(text.lower())) * 1000))
            return first, first
        moment = datetime.fromisoformat(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        first = (aware.astimezone(UTC) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise ValueError(_no_time(text)) from None
    if not _EARLIEST <= first <= _LATEST:
        raise ValueError(_no_time(text))
    if match["fraction"]:
        return first, first
    length = _SECOND if match["second"] else _DAY if len(text) == len(match[1]) else _MINUTE
    return first, first + length - 1


def _no_time(text: str) -> str:
    return f'"{clip(text, 40)}" is not a time. Write 2h, 7d, 2026-11-01 or 2026-11-01T08:30:00Z'


def _reversed(text: str) -> str:
    return f'"{clip(text, 40)}" ends before it begins. Swap the two bounds'


def _number_text(value: float | None) -> str:
    if value is None:
        raise AssertionError("a range without bounds cannot be written")
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
