"""Strict JSON for received bytes: refuses what other parsers accept, with one line that says what and why.

RFC 8259 leaves duplicate keys, large numbers and lone surrogates to the parser, and parsers disagree about each.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any, NoReturn

from bridge.errors import Unreadable, clip
from bridge.text import BROKEN, cleaned

__all__ = ["MAX_DEPTH", "MAX_INTEGER_DIGITS", "parse", "parse_answer"]

MAX_DEPTH = 32
MAX_INTEGER_DIGITS = 19
#: A row is kept in quarantine inside what the vendor's folder puts around it, and that must still be parsable.
_ANSWER_DEPTH = MAX_DEPTH - 8
#: Longer or larger numbers than any score or time; float() of them would give inf.
_MAX_NUMBER_LENGTH, _MAX_EXPONENT = 64, 300
#: Possessive, and the closing quote is optional, so that no input makes it backtrack (`"\"\"…` took minutes).
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
#: A lone surrogate or NUL can only come from such an escape; a pair of surrogates is fine, but looks the same.
_ODD_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def parse(raw: bytes) -> Any:
    """The document in `raw`, with numbers that have a fraction or exponent as Decimal.

    A byte order mark in front is skipped. Raises `Unreadable` unless `raw` is one UTF-8 JSON document without NaN,
    Infinity, duplicate keys, nesting deeper than 32, integers of more than 19 digits, lone surrogates or NUL.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"body is not UTF-8 at byte {error.start}", reason="not_utf8") from error
    # The number of brackets is a cheap upper bound of the depth; only a document with many is measured.
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(text)
    try:
        document = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Unreadable(f"body is not JSON: {error.msg} at character {error.pos}", reason="not_json") from error
    # Only an escape can express what UTF-8 itself cannot.
    if "\\u" in text:
        _check_text(document)
    return document


def parse_answer(raw: bytes) -> Any:
    """The document in an answer of a vendor's API, where one odd value must not hide the other rows.

    Values that `parse` refuses are replaced, so that only their own fields fail: numbers out of range stay text, NaN
    and Infinity become null, lone surrogates, NUL and invalid UTF-8 become the replacement character; the last of two
    equal keys counts, and values nested deeper than 24 become null. Raises `Unreadable` for an answer that is not
    JSON, or too deeply nested for the parser.
    """
    text = raw.decode("utf-8-sig", errors="replace")
    try:
        document = _TOLERANT.decode(text)
    except json.JSONDecodeError as error:
        raise Unreadable(f"answer is not JSON: {error.msg} at character {error.pos}", reason="not_json") from error
    except RecursionError as error:
        raise Unreadable("answer is nested too deeply", reason="too_deep") from error
    many = text.count("[") + text.count("{") > _ANSWER_DEPTH
    if _ODD_ESCAPE.search(text) or (many and _is_deeper(document, _ANSWER_DEPTH)):
        return _with_replacements(document, _ANSWER_DEPTH)
    return document


def _is_deeper(value: dict[str, Any] | list[Any], room: int) -> bool:
    """Whether a document has more than `room` levels."""
    members = value.values() if isinstance(value, dict) else value
    inner = [member for member in members if isinstance(member, dict | list)]
    return bool(inner) and (room == 1 or any(_is_deeper(member, room - 1) for member in inner))


def _with_replacements(value: Any, room: int) -> Any:
    """`room`: levels of nesting that are still allowed."""
    if isinstance(value, str):
        return cleaned(value)
    if not isinstance(value, dict | list):
        return value
    if not room:
        return None
    if isinstance(value, dict):
        return {cleaned(name): _with_replacements(member, room - 1) for name, member in value.items()}
    return [_with_replacements(member, room - 1) for member in value]


def _check_depth(text: str) -> None:
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise Unreadable(f"body is nested deeper than {MAX_DEPTH}", reason="too_deep")


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if BROKEN.search(value):
            raise Unreadable("body holds a lone surrogate or a NUL character", reason="bad_text")
    elif isinstance(value, dict):
        for name, member in value.items():
            _check_text(name)
            _check_text(member)
    elif isinstance(value, list):
        for member in value:
            _check_text(member)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        duplicate = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise Unreadable(f'duplicate key "{clip(duplicate)}"', reason="duplicate_name")
    return members


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_INTEGER_DIGITS:
        raise Unreadable(f"integer has more than {MAX_INTEGER_DIGITS} digits", reason="number_too_large")
    return int(digits)


def _decimal(text: str) -> Decimal:
    number = Decimal(text) if len(text) <= _MAX_NUMBER_LENGTH else None
    if number is None or abs(number.adjusted()) > _MAX_EXPONENT:
        raise Unreadable(f"number is out of range: {clip(text, 30)}", reason="number_too_large")
    return number


def _refuse(constant: str) -> NoReturn:
    raise Unreadable(f"{constant} is not JSON", reason="not_json")


def _integer_or_text(digits: str) -> int | str:
    return int(digits) if len(digits.lstrip("-")) <= MAX_INTEGER_DIGITS else digits


def _decimal_or_text(text: str) -> Decimal | str:
    try:
        return _decimal(text)
    except Unreadable:
        return text


_TOLERANT = json.JSONDecoder(
    parse_int=_integer_or_text, parse_float=_decimal_or_text, parse_constant=lambda constant: None
)
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_decimal, parse_constant=_refuse)
