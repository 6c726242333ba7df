"""A person's values are found in bytes of any encoding, and numbers are not found where they mean something else."""

from __future__ import annotations

import base64
import json

import pytest

from bridge.erasure.person import EMAIL, ID, NAME, SHARED, Matcher, Person
from bridge.erasure.texts import fold, holds

EMAIL_ONLY = Matcher(Person(source="eu", email="Zoë.Reyes@Example.org"))
NUMBER = Matcher(Person(source="eu", candidate="90011"))
WORD = Matcher(Person(source="eu", candidate="cand-8841"))
PLAIN = "zoë.reyes@example.ORG"


@pytest.mark.parametrize(
    "body",
    [
        PLAIN.encode(),
        # Decomposed.
        "zoe\N{COMBINING DIAERESIS}.reyes@example.org".encode(),
        json.dumps({"who": [PLAIN]}).encode(),
        b'{"broken": "zo\\u00eb.reyes@example.org"',
        b"who=zo%C3%AB.reyes%40example.org&x=1",
        b"<who>zo%C3%AB.reyes%40example.org</who>",
        b"<who>zo&#235;.reyes&#64;example.org</who>",
        b"payload=%7B%22who%22%3A%22zo%5Cu00eb.reyes%40example.org%22%7D",
        PLAIN.encode("latin-1"),
        PLAIN.encode("utf-16"),
        b"data: " + base64.b64encode(json.dumps({"who": PLAIN}).encode()),
        f'"Zoë" <{PLAIN}>, and more.'.encode(),
    ],
)
def test_an_address_is_found_in_any_encoding(body: bytes) -> None:
    assert EMAIL_ONLY.in_body(body)


@pytest.mark.parametrize("text", ["xzoë.reyes@example.org", "zoë.reyes@example.orgx", "a+zoë.reyes@example.org", "zoë"])
def test_a_part_of_another_address_is_not_the_address(text: str) -> None:
    assert not EMAIL_ONLY.in_body(text.encode())


@pytest.mark.parametrize(
    ("body", "is_found"),
    [
        (b'{"user_id": 90011}', True),
        (b'{"candidate": {"id": "90011"}}', True),
        (b"candidate=90011&test=1", True),
        # The number of a test, not of a person.
        (b'{"test": {"test_id": 90011}, "user_id": 7}', False),
        (b"test=90011&candidate=7", False),
        (b"<user>90011</user>", True),
        (b"x 900110 y", False),
    ],
)
def test_a_number_counts_only_where_it_may_be_a_persons(body: bytes, is_found: bool) -> None:
    assert NUMBER.in_body(body) is is_found


def test_an_id_that_is_no_number_is_found_anywhere_by_itself() -> None:
    assert WORD.in_body(b'{"x": "pair:9:cand-8841"}')
    assert not WORD.in_body(b'{"x": "cand-88412"}')
    assert not WORD.in_body(b'{"x": "CAND-8841"}')


def test_what_was_learned_counts_unless_others_have_it_too() -> None:
    learned = [(ID, "E-20417"), (EMAIL, "sam@example.org"), (NAME, "sam reyes")]
    matcher = Matcher(Person(source="eu", candidate="cand-8841"), learned)
    assert matcher.in_body(b'{"x": "Sam@example.org"}')
    assert matcher.in_text("asks Sam REYES")
    matcher.learn([(SHARED, f"{EMAIL}|sam@example.org"), (SHARED, f"{NAME}|sam reyes")])
    assert not matcher.in_body(b'{"x": "Sam@example.org"}')
    assert not matcher.in_text("asks Sam REYES")
    assert matcher.in_text("asks E-20417")


@pytest.mark.parametrize(
    ("data", "is_found"),
    [
        ({"candidate": {"id": None, "external_id": "cand-8841"}}, True),
        ({"consent": {"subject": {"custom_id": "cand-8841"}}}, True),
        ({"watch": {"reference": {"candidate": "cand-8841"}, "label": None}}, True),
        ({"candidate": {"id": "CAND-8841"}}, False),
        ({"candidate": {"id": "other"}, "note": "cand-8841"}, False),
        ({"alarm": {"value": "cand-8841"}}, False),
        ("cand-8841", False),
    ],
)
def test_an_event_is_about_whom_it_names_as_its_candidate_or_subject(data: object, is_found: bool) -> None:
    traces = WORD.traces_of("a1", json.dumps({"data": data}).encode())
    assert (traces is not None) is is_found
    assert WORD.traces_of("a1", b"cand-8841 is not JSON") is None


def test_deep_and_damaged_documents_are_searched_as_text() -> None:
    deep = b"[" * 100_000 + b'"cand-8841"'
    assert WORD.in_body(deep)
    assert not WORD.in_body(b"\xff\x00\xfe" * 50)
    assert holds(fold("ÅNGSTRÖM"), {fold("A\N{COMBINING RING ABOVE}ngstro\N{COMBINING DIAERESIS}m")})
