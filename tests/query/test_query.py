"""The filter language: what a filter means, how it is written again, and what is said about a wrong one."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.query import (
    Boolean,
    Enum,
    Field,
    Fields,
    Glob,
    Number,
    Query,
    QueryError,
    Text,
    Time,
    parse,
    parse_number_range,
)
from bridge.query.scanning import in_quotes

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
TYPES = ("attempt.completed", "attempt.revised", "attempt.voided")


def of(name: str) -> Any:
    return lambda item: item.get(name)


FIELDS = Fields(
    Field("type", Glob(TYPES), of("type"), "type of the event"),
    Field("source", Glob(), of("source"), "name of the source"),
    Field("grading", Enum("final", "pending"), of("grading"), "grading"),
    Field("passed", Boolean(), of("passed"), "whether it was passed", costly=True),
    Field("percentage", Number(), of("percentage"), "percentage", costly=True),
    Field("completed", Time(), of("completed"), "when it was completed"),
    Field("email", Text(), of("email"), "e-mail address"),
    search=lambda item: [value for value in item.values() if isinstance(value, str)],
)
ITEM = {
    "type": "attempt.revised",
    "source": "eu-classmarker",
    "grading": "final",
    "passed": False,
    "percentage": 49.5,
    "completed": NOW - 3600,
    "email": "Sam.Reyes@example.test",
    "flags": ["late", "resit"],
}


def matches(text: str, **changes: Any) -> bool:
    return parse(text, FIELDS, NOW).matches(ITEM | changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('type:attempt.revised source:eu-* passed:false percentage:<50 since:2h "reyes"', True),
        ("source:eu-*", True),
        ("source:us-*", False),
        ('source:"eu-*"', False),  # in quotes it is a star
        ("source:eu-classmarke?", True),
        ("source:classmarker", False),
        ("source:us-cirrus,eu-classmarker", True),
        ("-source:eu-*", False),
        ("-source:us-*,eu-cirrus", True),
        ("source:eu-* source:us-*", False),  # every term must match
        ("type:attempt.*", True),
        ("grading:pending,final", True),
        ("passed:true", False),
        ("-passed:true", True),
        ("percentage:49.5", True),
        ("percentage:>=49.5", True),
        ("percentage:>49.5", False),
        ("percentage:<=49.5", True),
        ("percentage:<49.5", False),
        ("percentage:40..50", True),
        ("percentage:..40,49..", True),
        ("percentage:=49.5", True),
        ("completed:2026-11-20", True),
        ("completed:2026-11-19", False),
        ("completed:2h", True),
        ("completed:<2h", False),
        ("completed:30m", False),
        ("completed:2026-11-20T11:00Z..2026-11-20T11:00:00.000Z", True),
        ("completed:>2026-11-20T10:59", True),
        ("completed:<2026-11-20T11:00", False),
        ("completed:<=2026-11-20T12:00+01:00", True),
        ("email:sam.reyes", True),
        ("reyes revised", True),
        ("reyes completed", False),
        ("-reyes", False),
        ('"late"', False),  # the search reads texts, not lists
    ],
)
def test_a_filter_matches_what_it_says(text: str, expected: bool) -> None:
    assert matches(text) is expected


def test_a_missing_value_is_none_and_nothing_else() -> None:
    assert matches("passed:none percentage:none email:none", passed=None, percentage=None, email=None)
    assert not matches("passed:false", passed=None)
    assert not matches("percentage:<50", percentage=None)
    assert not matches("percentage:<50", percentage=True)
    assert matches("-passed:true", passed=None)
    assert not matches('email:"none"', email=None)  # in quotes it is the word


def test_one_value_of_a_list_is_enough() -> None:
    fields = Fields(Field("flag", Glob(), of("flags"), "flag"))
    assert parse("flag:resit", fields, NOW).matches(ITEM)
    assert not parse("-flag:re*", fields, NOW).matches(ITEM)
    assert parse("flag:none", fields, NOW).matches({"flags": []})


def test_the_period_is_kept_beside_the_terms() -> None:
    query = parse("since:2h until:2026-11-20T11:30:00Z source:a", FIELDS, NOW)
    assert (query.since, query.until) == (NOW - 7200, NOW - 1800)
    assert [str(term) for term in query.terms] == ["source:a"]


def test_a_filter_written_in_full_means_the_same_later() -> None:
    written = str(parse("since:2h completed:1h", FIELDS, NOW))
    assert written == "completed:>=2026-11-20T11:00:00.000Z since:2026-11-20T10:00:00.000Z"
    assert parse(written, FIELDS, NOW + 86_400) == parse(written, FIELDS, NOW)


def test_costly_fields_are_compared_last() -> None:
    query = parse('text passed:true source:a percentage:5 "b"', FIELDS, NOW)
    assert [str(term) for term in query.terms] == ["source:a", '"text"', "passed:true", "percentage:5", '"b"']


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "source:a tpye:b",
            'unknown field at character 10: "tpye". Did you mean "type"? To search for this text, put it in quotes',
        ),
        ("-type:attempt.revise", 'unknown type at character 7: "attempt.revise". Did you mean "attempt.revised"?'),
        ("grading:finale", 'unknown grading at character 9: "finale". Did you mean "final"?'),
        (
            "passed:maybe",
            'passed is neither true nor false at character 8: "maybe". Write passed:true, passed:false or passed:none',
        ),
        (
            "percentage:5x",
            'percentage at character 12: "5x" is not a number. Write 50, <50, <=50, >50, >=50 or 40..60',
        ),
        ("percentage:60..40", 'percentage at character 12: "60..40" ends before it begins. Swap the two bounds'),
        ("percentage:..", 'percentage at character 12: ".." has no bound. Write a..b, a.. or ..b'),
        (
            "since:yesterday",
            'since at character 7: "yesterday" is not a time. Write 2h, 7d, 2026-11-01 or 2026-11-01T08:30:00Z',
        ),
        ("completed:2026-02-30", 'completed at character 11: "2026-02-30" is not a time.'),
        ("since:1h,2h", "since takes one time at character 1. Write since:2h"),
        ("since:1h since:2h", "a second since at character 10. Keep one of them"),
        ("until:2h since:1h", "since is after until at character 10. Swap the two"),
        ("source:", 'no value for source at character 8. Write source:value, or "" for an empty one'),
        ("source:a,,b", 'no value for source at character 10. Write source:value, or "" for an empty one'),
        ("- a", 'nothing follows "-" at character 1. Write -field:value to exclude what matches'),
        ('source:"a', 'quotes without an end at character 8. Add " at the end of the text'),
        ('source:a"b"', "quotes inside a word at character 9. Put a space between terms"),
        ('"a"b', "text directly after the closing quotes at character 4. Put a space between terms"),
        ("a\0", "the filter holds a NUL character, at character 2. Remove it"),
        ("a" * 1001, "filter too long: 1001 characters. Shorten it to 1000"),
        ("a " * 51, "more than 50 terms at character 101. Give several values to one field: type:a,b"),
    ],
)
def test_a_wrong_filter_is_refused_with_place_value_and_remedy(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=f"^{re.escape(message)}"):
        parse(text, FIELDS, NOW)


def test_a_list_without_free_text_or_period_says_so() -> None:
    fields = Fields(Field("name", Glob(), of("name"), "name"), period=False)
    with pytest.raises(QueryError, match=r'no field is named at character 1: "abc"\. Write field:value; fields: name$'):
        parse("abc", fields, NOW)
    with pytest.raises(QueryError, match='unknown field at character 1: "since"'):
        parse("since:2h", fields, NOW)


def test_ranges_are_read_without_a_filter_too() -> None:
    assert parse_number_range("<50").matches(49)
    assert not parse_number_range("<50").matches(50)


def test_fields_describe_themselves() -> None:
    assert "`grading`: grading (final, pending)" in FIELDS.summary()
    assert "since" not in Fields(period=False).summary()


#: Filters as people write them, and such as nobody should.
_word = st.text(st.sampled_from('ab*?.:<>=-1 2h\\"[]{}\u00e9\u3000,'), max_size=8)
_number = st.integers(-10, 200).map(str) | st.decimals(-5, 105, places=3).map(str)
_time = st.sampled_from(["2h", "7d", "2026-11-20", "2026-11-20T08:30", "2026-11-20T08:30:01.5Z", "1969-01-01"])
_range = st.tuples(st.sampled_from(["", "<", "<=", ">", ">=", "="]), _number | _time).map("".join) | st.tuples(
    _number | _time | st.just(""), _number | _time | st.just("")
).map("..".join)
_value = _word.map(in_quotes) | _word | _range | st.sampled_from([*TYPES, "none", "true", "no", "final", "eu-*"])
_term = st.tuples(
    st.sampled_from(["", "-"]),
    st.sampled_from(["", *(f"{name}:" for name in FIELDS.names)]),
    st.lists(_value, min_size=1, max_size=3).map(",".join),
).map("".join)
_filters = st.lists(_term, max_size=4).map(" ".join)


def read(text: str) -> Query | QueryError:
    try:
        return parse(text, FIELDS, NOW)
    except QueryError as error:
        return error


@given(_filters | st.text())
def test_a_filter_is_refused_with_a_place_or_written_so_that_it_is_read_as_the_same(text: str) -> None:
    query = read(text)
    if isinstance(query, QueryError):
        assert 0 <= query.position <= len(text)
        assert "\n" not in str(query)
    else:
        again = parse(str(query), FIELDS, NOW + 12345)
        assert again == query
        assert str(again) == str(query)
        assert query.matches(ITEM) == again.matches(ITEM)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_text_in_quotes_is_read_as_itself(text: str) -> None:
    query = parse(f"source:{in_quotes(text)}", FIELDS, NOW)
    assert query.matches({"source": text}) is True
    assert query.matches({"source": text + "x"}) is False
