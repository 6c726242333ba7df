"""Moments in ISO 8601 and UNIX time: every spelling has one meaning, and every odd one is refused with its reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sdk.compiled_schema import IsoTime, UnixMillis, UnixTime

STRICT, AS_UTC = IsoTime(), IsoTime(assume_utc=True)
ANY = IsoTime(assume_utc=True, numbers=(UnixTime, UnixMillis))
MOMENT = datetime(2026, 3, 2, 9, 41, 3, tzinfo=UTC)
# Naive, as hypothesis wants them.
FIRST, LAST = datetime(1990, 1, 1), datetime(2099, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - see above


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("2026-03-02T09:41:03Z", MOMENT),
        (" 2026-03-02 09:41:03z ", MOMENT),
        ("2026-03-02t09:41:03+00", MOMENT),
        ("2026-03-02T09:41:03-0000", MOMENT),
        ("2026-03-02T15:11:03+05:30", MOMENT),
        ("2026-03-01T23:41:03-10", MOMENT),
        ("2026-03-02T09:41:03.000Z", MOMENT),
        ("2026-03-02T09:41Z", MOMENT.replace(second=0)),
        ("2026-03-02T09:41:03.5Z", MOMENT.replace(microsecond=500_000)),
        ("2026-03-02T09:41:03,25Z", MOMENT.replace(microsecond=250_000)),
        ("2026-03-02T09:41:03.1234569Z", MOMENT.replace(microsecond=123_456)),
        ("2026-03-02T09:41:03." + "9" * 40 + "Z", MOMENT.replace(microsecond=999_999)),
        ("2026-03-02T24:00Z", datetime(2026, 3, 3, tzinfo=UTC)),
        ("2026-12-31T24:00:00.000+01:00", datetime(2026, 12, 31, 23, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2017-01-01T00:59:60.7+01:00", datetime(2017, 1, 1, tzinfo=UTC)),
        ("1990-01-01T00:00:00Z", datetime(1990, 1, 1, tzinfo=UTC)),
        ("2100-01-01T00:59:59+01:00", datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("", None),
        (" ", None),
    ],
)
def test_a_spelling_of_iso_8601_has_one_meaning(text: str, meaning: datetime | None) -> None:
    read = STRICT.convert(text)
    assert read == meaning == AS_UTC.convert(text)
    assert read is None or read.tzinfo is UTC


NO_ISO = "must be a time in ISO 8601, got "
NOT_THERE, ELSEWHERE = "must be a date, time and zone that exist", "must be a time in the years 1990 to 2099"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("2026-03-02", NO_ISO + "text of 10 characters"),
        ("20260302T094103Z", NO_ISO + "text of 16 characters"),
        ("2026-061T09:41:03Z", NO_ISO + "text of 18 characters"),
        ("2026-03-02T09Z", NO_ISO + "text of 14 characters"),
        ("2026-03-02T09:41:03.Z", NO_ISO + "text of 21 characters"),
        ("2026-03-02T09:41:03 UTC", NO_ISO + "text of 23 characters"),
        ("2026-03-02T09:41:03+1", NO_ISO + "text of 21 characters"),
        ("-2026-03-02T09:41:03Z", NO_ISO + "text of 21 characters"),
        ("+12026-03-02T09:41:03Z", NO_ISO + "text of 22 characters"),
        ("\u0662026-03-02T09:41:03Z", NO_ISO + "text of 20 characters"),
        ("02/03/2026 09:41", NO_ISO + "text of 16 characters"),
        ("NaN", NO_ISO + "text of 3 characters"),
        ("1772444463", NO_ISO + "text of 10 characters"),
        (1_772_444_463, NO_ISO + "a number"),
        (Decimal("NaN"), NO_ISO + "a number"),
        (True, NO_ISO + "true/false"),
        ([], NO_ISO + "a list"),
        ("2026-03-02T24:00:01Z", "must be a time of day up to 24:00:00"),
        ("2026-03-02T24:00:00.001Z", "must be a time of day up to 24:00:00"),
        ("2026-03-02T24:01Z", "must be a time of day up to 24:00:00"),
        ("2026-03-02T25:00:00Z", NOT_THERE),
        ("2026-03-02T09:60:00Z", NOT_THERE),
        ("2026-03-02T09:41:61Z", NOT_THERE),
        ("2026-03-02T09:41:60Z", NOT_THERE),
        ("2016-12-31T23:59:60+01:00", NOT_THERE),
        ("2026-02-29T09:41:03Z", NOT_THERE),
        ("2026-13-02T09:41:03Z", NOT_THERE),
        ("2026-03-02T09:41:03+24:00", NOT_THERE),
        ("0000-01-01T00:00:00Z", NOT_THERE),
        ("0001-01-01T00:00:00+14:00", ELSEWHERE),
        ("9999-12-31T24:00:00-14:00", ELSEWHERE),
        ("1989-12-31T23:59:59Z", ELSEWHERE),
        ("2099-12-31T24:00:00Z", ELSEWHERE),
        ("1990-01-01T00:59:59+01:00", ELSEWHERE),
    ],
)
def test_anything_else_is_refused_with_its_reason(value: Any, problem: str) -> None:
    for field in (STRICT, AS_UTC):
        with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
            field.convert(value)
        assert str(refusal.value) == problem


def test_a_time_without_a_zone_is_refused_unless_the_field_says_that_it_is_utc() -> None:
    with pytest.raises(ValueError, match=r"^must be a time with its zone, such as Z or \+01:00$"):
        STRICT.convert("2026-03-02T09:41:03")
    assert AS_UTC.convert("2026-03-02T09:41:03") == MOMENT


@pytest.mark.parametrize("number", [1_772_444_463, "1772444463", 1_772_444_463_000, " 1772444463000.0 "])
def test_numbers_are_read_where_the_field_names_how(number: Any) -> None:
    assert ANY.convert(number) == MOMENT


@pytest.mark.parametrize("number", [0, -1, True, Decimal("Infinity"), "1e99", 10**40, "9" * 61, 1.5, {}])
def test_numbers_that_are_no_moment_are_refused(number: Any) -> None:
    for field in (ANY, UnixTime(), UnixMillis()):
        with pytest.raises(ValueError, match="must be"):
            field.convert(number)


@given(
    moment=st.datetimes(FIRST, LAST),
    minutes=st.integers(-23 * 60 - 59, 23 * 60 + 59),
    separator=st.sampled_from("Tt "),
    comma=st.booleans(),
)
def test_what_python_writes_is_read_back(moment: datetime, minutes: int, separator: str, comma: bool) -> None:
    aware = moment.replace(tzinfo=UTC)
    local = aware.astimezone(timezone(timedelta(minutes=minutes)))
    text = local.isoformat(separator)
    assert STRICT.convert(text.replace(".", ",") if comma else text) == aware
    assert AS_UTC.convert(moment.isoformat()) == aware


@given(st.datetimes(FIRST, LAST))
def test_unix_seconds_and_milliseconds_are_exact(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    microseconds = Decimal((aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    for convert in (UnixMillis.convert, ANY.convert):
        assert convert(microseconds.scaleb(-3)) == convert(str(microseconds.scaleb(-3))) == aware
    for convert in (UnixTime.convert, ANY.convert):
        assert convert(microseconds.scaleb(-6)) == convert(str(microseconds.scaleb(-6))) == aware


@given(
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?([Zz]|[+-][0-9]{4})?")
    | st.text(alphabet="0123456789-:TZz+., ", max_size=30)
    | st.decimals()
    | st.integers()
    | st.floats()
    | st.booleans()
)
def test_any_value_is_a_moment_of_these_years_or_refused(value: Any) -> None:
    for field in (STRICT, ANY, UnixTime(), UnixMillis()):
        try:
            moment = field.convert(value)
        except ValueError:
            continue
        if moment is not None:
            assert moment.tzinfo is UTC
            assert FIRST <= moment.replace(tzinfo=None) <= LAST
        else:
            assert not value.strip()
