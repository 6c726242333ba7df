"""Answers in other character sets, with and without byte order marks, become UTF-8."""

from __future__ import annotations

import codecs
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import Unreadable
from bridge.net.charset import to_utf8
from bridge.sdk.strict_json import parse, parse_answer

ROW = {"first": "Zoë"}
TEXT = json.dumps(ROW, ensure_ascii=False)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (TEXT.encode(), ""),
        (TEXT.encode(), "application/json; charset=UTF-8"),
        (TEXT.encode("utf-8-sig"), "application/json"),
        (TEXT.encode("utf-8-sig"), "application/json; charset=latin-1"),
        (TEXT.encode("latin-1"), "application/json; charset=ISO-8859-1"),
        (TEXT.encode("cp1252"), 'application/json; charset="windows-1252"'),
        (TEXT.encode("utf-16"), "application/json; charset=utf-16"),
        (TEXT.encode("utf-16-le"), "application/json"),
        (TEXT.encode("utf-16-be"), "application/json;charset=UTF-16BE"),
        (TEXT.encode("utf-32"), ""),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "text/json"),
    ],
)
def test_the_text_is_the_same_in_every_character_set(content, content_type):
    assert parse_answer(to_utf8(content, content_type)) == ROW


@pytest.mark.parametrize("charset", ["x-unknown", "rot13", "unicode_escape", "base64", "idna", "utf-7", "punycode"])
def test_an_unknown_character_set_is_refused_by_its_name(charset):
    with pytest.raises(Unreadable, match=charset) as refused:
        to_utf8(TEXT.encode(), f"application/json; charset={charset}")
    assert refused.value.reason == "bad_charset"


def test_xml_that_names_its_own_encoding_stays_as_it_is():
    content = '<?xml version="1.0" encoding="ISO-8859-1"?><a>Zoë</a>'.encode("latin-1")
    assert to_utf8(content, "text/xml; charset=utf-8") == content


def test_a_webhook_may_begin_with_a_byte_order_mark_and_must_be_utf_8():
    assert parse(TEXT.encode("utf-8-sig")) == ROW
    for charset in ("latin-1", "utf-16"):
        with pytest.raises(Unreadable, match="not UTF-8"):
            parse(TEXT.encode(charset))


@given(st.binary(max_size=60), st.text(max_size=30))
def test_any_bytes_and_any_declaration_become_utf_8_or_are_refused(content, declared):
    try:
        to_utf8(content, f"application/json; charset={declared}").decode(errors="strict" if not content else "replace")
    except Unreadable:
        return
