"""Which spellings may mean one id."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from bridge.sdk.spelling import alike, folded_key, same_attempt


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20))
def test_case_blanks_and_unicode_form_make_no_other_id(text):
    for spelled in (text.upper(), f" {text} ", unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text)):
        if spelled.lower() == text.lower() or spelled.strip() == text.strip():
            assert alike(text, spelled)
    assert alike(text, unicodedata.normalize("NFD", text))


def test_case_blanks_and_unicode_form_are_ignored_together():
    assert alike("ZÜRICH \u00c5", " zu\u0308rich a\u030a ")
    assert alike("STRASSE", "straße")
    assert folded_key(quote("Zürich 1", safe="")) == folded_key("ZU\u0308RICH%201")


def test_other_ids_stay_other_ids():
    assert not alike("cand-1", "cand-11")
    assert not alike("cand-1", "cand 1")


def test_an_attempt_is_that_of_a_key_whatever_the_spelling_of_its_encoded_parts():
    key, attempt_id = (f"pair:{quote('Zürich 1', safe='')}:{name}" for name in ("CAND-1", "cand-1"))

    assert same_attempt(attempt_id, key)
    assert not same_attempt(f"{attempt_id}:2", key)
