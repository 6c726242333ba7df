"""Foreign bytes are one strict JSON document or refused with one line; no body is slow to refuse."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import Unreadable
from bridge.sdk.strict_json import MAX_DEPTH, parse, parse_answer

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**19) + 1, 10**19 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def refusal(raw: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        parse(raw)
    return caught.value


@given(DOCUMENTS, st.booleans())
def test_every_ordinary_document_is_read_as_written(document: Any, ascii_only: bool) -> None:
    assert parse(json.dumps(document, ensure_ascii=ascii_only).encode()) == document


@given(st.binary(max_size=60) | st.text('[]{}",:\\u0123456789eE+-.NaIfinty ', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_as_unreadable(raw: bytes) -> None:
    try:
        document = parse(raw)
    except Unreadable:
        return
    # What we accept, everybody reads alike.
    assert document == json.loads(raw, parse_float=Decimal)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"{} {}", "not_json"),
        (b"[1,]", "not_json"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b"[-Infinity]", "not_json"),
        (b'["a\nb"]', "not_json"),
        (b'"\xff"', "not_utf8"),
        ('{"a": 1}'.encode("utf-16"), "not_utf8"),
        (b'{"a": 1, "a": 1}', "duplicate_name"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "duplicate_name"),
        (b"12345678901234567890", "number_too_large"),
        (b"-12345678901234567890", "number_too_large"),
        (b"1e301", "number_too_large"),
        (b"1e-301", "number_too_large"),
        (b"0." + b"1" * 64, "number_too_large"),
        (b'"\\ud800"', "bad_text"),
        (b'{"\\udfff": 1}', "bad_text"),
        (b'[{"a": ["\\u0000"]}]', "bad_text"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "too_deep"),
        (b'{"a":' * (MAX_DEPTH + 1), "too_deep"),
        (b"[" * 100_000, "too_deep"),
    ],
)
def test_a_document_that_parsers_disagree_about_is_refused(raw: bytes, reason: str) -> None:
    assert refusal(raw).reason == reason


def test_the_deepest_allowed_document_is_read() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) == json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize("text", ["[" * 40, '\\"[[' * 20, '\\\\"', "{}" * 40])
def test_brackets_inside_text_are_no_depth(text: str) -> None:
    document = {"text": text, "more": [{}] * 40}
    assert parse(json.dumps(document).encode()) == document


def test_fractions_stay_exact() -> None:
    document = parse(b'{"score": 70.10, "tiny": 1e-7, "whole": 70}')
    assert (str(document["score"]), document["tiny"]) == ("70.10", Decimal("1E-7"))
    assert type(document["whole"]) is int


def test_a_surrogate_pair_is_text() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


def test_the_name_that_stands_twice_is_named() -> None:
    assert str(refusal(b'{"first": 1, "score": 2, "score": 3}')) == 'duplicate key "score"'


# Each of these took from seconds to minutes for one body of 256 kB when the check was quadratic; the limit is the
# time-out of a test, far above the milliseconds that they take.
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[" * 32 + b'"\\' * 120_000, "not_json"),
        (b"[" * 33 + b'"\\' * 120_000, "too_deep"),
        (b"{" + b"".join(b'"%d":1,' % n for n in range(30_000)) + b'"x":1,"x":1}', "duplicate_name"),
    ],
    ids=["escaped quotes", "escaped quotes, deep", "one duplicate among many names"],
)
def test_no_body_is_slow_to_refuse(raw: bytes, reason: str) -> None:
    assert refusal(raw).reason == reason


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'["a\ud800b", "\ud83d\ude00"]', ["a�b", "😀"]),
        (r'[{"n\uDfff": 1}]', [{"n�": 1}]),
        (r'["c\u0000", "\u00e4"]', ["c�", "ä"]),
        ("[" + "9" * 26 + ", 1e999, NaN, -Infinity]", ["9" * 26, "1e999", None, None]),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ("[" * 40 + "1.50" + "]" * 40, None),
        ('["\xff"]', ["ÿ"]),
    ],
)
def test_one_odd_value_in_an_answer_hides_nothing_beside_it(text: str, value: object) -> None:
    result = parse_answer(text.encode())
    assert value is None or result == value


def nested(levels: int, inner: str) -> str:
    return "[" * levels + inner + "]" * levels


@pytest.mark.parametrize(
    ("deeper", "kept"),
    [
        (nested(24, '"a"'), nested(24, '"a"')),
        (nested(25, "1"), nested(24, "null")),
        (nested(25, ""), nested(24, "null")),
        (nested(24, '{"a": 1}'), nested(24, "null")),
        (f'{{"b": {nested(24, "1")}}}', f'{{"b": {nested(23, "null")}}}'),
        (f'["b", [], {nested(24, "1")}, {nested(23, "1")}]', f'["b", [], {nested(23, "null")}, {nested(23, "1")}]'),
    ],
)
def test_what_is_nested_deeper_than_24_in_an_answer_is_null_and_all_else_stays(deeper: str, kept: str) -> None:
    assert parse_answer(deeper.encode()) == json.loads(kept)


def test_broken_utf8_in_an_answer_is_shown_as_such() -> None:
    assert parse_answer(b'["a\xff"]') == ["a�"]


@pytest.mark.parametrize(("raw", "reason"), [(b"<html>", "not_json"), (b"[" * 100_000, "too_deep"), (b"", "not_json")])
def test_an_answer_that_is_no_json_is_unreadable(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse_answer(raw)
    assert caught.value.reason == reason
