"""Tolerant fields of vendors' payloads for moments and durations. Import them from `bridge.sdk.compiled_schema`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.sdk.fields import Number, TolerantField, expected

__all__ = ["Duration", "IsoTime", "UnixMillis", "UnixTime"]

#: UNIX seconds of 1990-01-01 and 2100-01-01: a number outside this range is not a time, or it is in milliseconds.
_EARLIEST, _LATEST = 631_152_000, 4_102_444_800
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _END = _EPOCH + timedelta(seconds=_EARLIEST), _EPOCH + timedelta(seconds=_LATEST)

#: Day, hour, minute, second, its fraction, zone. The hour of a bare date is unknown, and 20260302 may be a number.
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r"([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_CLOCK = re.compile(r"['\"]?([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])")


class UnixTime(TolerantField):
    """Aware UTC datetime from UNIX seconds (a number or its text, fractions to the microsecond) of 1990 to 2099."""

    @staticmethod
    def convert(value: Any) -> datetime | None:
        seconds = value if type(value) is int else Number.convert(value)
        if seconds is None:
            return None
        if not _EARLIEST <= seconds < _LATEST:
            raise ValueError("must be UNIX seconds in the years 1990 to 2099")
        if type(seconds) is int:
            return datetime.fromtimestamp(seconds, UTC)
        return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))


class UnixMillis(TolerantField):
    """Aware UTC datetime like `UnixTime` from UNIX milliseconds; seconds are refused: they would be in January 1970."""

    @staticmethod
    def convert(value: Any) -> datetime | None:
        milliseconds = Number.convert(value)
        if milliseconds is None:
            return None
        if not 1000 * _EARLIEST <= milliseconds < 1000 * _LATEST:
            raise ValueError("must be UNIX milliseconds in the years 1990 to 2099")
        return UnixTime.convert(milliseconds.scaleb(-3))


class IsoTime(TolerantField):
    """Aware UTC datetime of 1990 to 2099 from date and time in ISO 8601, to the minute or finer, such as
    2026-03-02T09:41:03.5Z or 2026-03-02 10:41+01.

    Digits after the microsecond are dropped. 24:00 is midnight of the next day; a leap second is the second after it.
    `assume_utc`: a time without a zone is UTC; otherwise it is refused, because it may be hours off. `numbers`: also
    read numbers and numeric text, with the first of these fields that accepts them.
    """

    def __init__(
        self, *, assume_utc: bool = False, numbers: Sequence[type[UnixTime | UnixMillis]] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        self.assume_utc = assume_utc
        self.numbers = tuple(numbers)

    def convert(self, value: Any) -> datetime | None:  # type: ignore[override] # depends on the field's options
        if isinstance(value, str):
            text = value.strip()
            if not text:
                return None
            parts = _ISO.fullmatch(text)
            if parts is not None:
                return _moment(parts, assume_utc=self.assume_utc)
        problem = expected("a time in ISO 8601" + (" or UNIX time" if self.numbers else ""), value)
        for field in self.numbers:
            try:
                return field.convert(value)
            except ValueError as error:
                problem = problem if isinstance(value, str) else error
        raise problem


class Duration(TolerantField):
    """Whole seconds from "HH:MM:SS"; a leading quote (a spreadsheet's mark for text) is tolerated."""

    @staticmethod
    def convert(value: Any) -> int | None:
        if value == "":
            return None
        clock = _CLOCK.fullmatch(value) if isinstance(value, str) else None
        if clock is None:
            raise expected('a duration "HH:MM:SS"', value)
        hours, minutes, seconds = clock.groups()
        return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


def _moment(parts: re.Match[str], *, assume_utc: bool) -> datetime:
    day, hour, minute, second, fraction, zone = parts.groups()
    if zone is None and not assume_utc:
        raise ValueError("must be a time with its zone, such as Z or +01:00")
    next_day, leap_second = hour == "24", second == "60"
    if next_day and (minute != "00" or (second or "00") != "00" or (fraction or "0").strip("0")):
        raise ValueError("must be a time of day up to 24:00:00")
    clock = f"{'00' if next_day else hour}:{minute}:{'59' if leap_second else second or '00'}.{(fraction or '0')[:6]}"
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{(zone or 'Z').upper()}")
    except ValueError as error:
        raise ValueError("must be a date, time and zone that exist") from error
    # Other years are not times of attempts, and conversions at the ends of the calendar overflow.
    if _FIRST.year - 1 <= moment.year <= _END.year:
        moment = moment.astimezone(UTC) + timedelta(days=next_day)
        if leap_second:
            if (moment.hour, moment.minute) != (23, 59):
                raise ValueError("must be a date, time and zone that exist")
            moment = moment.replace(microsecond=0) + timedelta(seconds=1)
        if _FIRST <= moment < _END:
            return moment
    raise ValueError("must be a time in the years 1990 to 2099")
