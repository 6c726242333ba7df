"""`Retry-After` of anybody: every text is read without an error, and nothing but a plausible span comes out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.net.retry_after import LONGEST_SECONDS, http_date, retry_after_seconds
from bridge.polling.vendor_http import throttled_until, unavailable_until
from bridge.vendors.mettl.api import _seconds_ahead

NOW = 1_795_219_200.0
BEYOND = "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"
#: Texts that look like dates, with numbers and zones of any size.
DATES = st.builds(
    "{}{} {} {} {}:{}:{} {}{}".format,
    st.sampled_from(["Mon, ", "Monday, ", "", ",", "Xyz, "]),
    st.integers(-(10**30), 10**30) | st.integers(0, 40),
    st.sampled_from(["Jan", "Feb", "Dec", "13", "", "january"]),
    st.integers(-(10**30), 10**30) | st.integers(0, 10_000),
    st.integers(-100, 10**20) | st.integers(0, 30),
    st.integers(-1, 61),
    st.integers(-1, 10**20) | st.integers(0, 61),
    st.sampled_from(["GMT", "+", "-", "UTC+", "Z", "", "EST "]),
    st.just("") | st.integers(0, 10**25) | st.text(max_size=5),
)
TEXTS = st.text(max_size=80) | st.from_regex(r"[-+.\d:,/ GMTZa]{0,60}", fullmatch=True) | DATES | st.just(BEYOND)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sat, 21 Nov 2026 00:01:00 GMT", 60.0),
        ("Saturday, 21-Nov-26 00:01:00 GMT", 60.0),
        ("Sat Nov 21 00:01:00 2026", 60.0),
        ("Fri, 20 Nov 2026 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_SECONDS),
        ("9" * 5000, LONGEST_SECONDS),
        (BEYOND, None),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("٣", None),
        ("²", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_a_week(text: str, seconds: float | None) -> None:
    assert retry_after_seconds(text, now=NOW) == seconds


@pytest.mark.long
@settings(max_examples=5 * settings.default.max_examples)
@given(text=TEXTS, now=st.floats(0, 1e11))
def test_any_text_is_read_without_an_error_and_stays_in_the_span(text: str, now: float) -> None:
    wait = retry_after_seconds(text, now=now)
    assert wait is None or 0.0 <= wait <= LONGEST_SECONDS


@settings(max_examples=3 * settings.default.max_examples)
@given(text=TEXTS)
def test_a_vendors_refusal_always_ends_in_a_pause_of_a_day_at_most(text: str) -> None:
    for until in (throttled_until({"retry-after": text}, NOW), unavailable_until({"retry-after": text}, NOW)):
        assert until is None or NOW < until <= NOW + 25 * 3600


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry-after": "90"}, 90.0),
        ({"retry-after": "1"}, 5.0),
        ({"retry-after": "0"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 00:00:00 GMT"}, None),
        ({"retry-after": BEYOND}, None),
        ({"retry-after": "0", "ratelimit-reset": "30"}, 30.0),
        ({}, None),
    ],
)
def test_a_throttled_call_is_never_followed_at_once(headers: dict[str, str], pause: float | None) -> None:
    assert throttled_until(headers, NOW) == (None if pause is None else NOW + pause)


@pytest.mark.parametrize(("text", "pause"), [("90", 90.0), ("0", None), ("", None), (BEYOND, 60.0), ("soon", 60.0)])
def test_a_server_error_with_an_unreadable_pause_gets_the_default_one(text: str, pause: float | None) -> None:
    assert unavailable_until({"retry-after": text}, NOW) == (None if pause is None else NOW + pause)


@settings(max_examples=3 * settings.default.max_examples)
@given(text=TEXTS)
def test_a_vendors_date_header_is_read_without_an_error(text: str) -> None:
    assert _seconds_ahead(text, NOW) == round((http_date(text) or NOW) - NOW) or http_date(text) == 0
