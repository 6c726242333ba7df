"""Tolerant fields read every spelling that vendors use; the compiled loader answers exactly as the declared schema."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields, post_load, validate

from bridge.errors import Unreadable
from bridge.sdk.compiled_schema import (
    Duration,
    Flag,
    Identifier,
    IsoTime,
    Number,
    Text,
    TolerantField,
    UnixMillis,
    UnixTime,
    VendorSchema,
    WholeNumber,
    loader,
)


class Colour(TolerantField):
    """A vendor folder's own kind of field."""

    @staticmethod
    def convert(value: Any) -> str | None:
        if value not in ("red", "green", ""):
            raise ValueError("must be red or green")
        return str(value).upper() or None


class Stubborn(Text):
    """A field that reads in a way of its own, which the compiled loader must not by-pass."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **options: Any) -> Any:
        return f"{attr}={super()._deserialize(value, attr, data, **options)}"


class Part(VendorSchema):
    name = Text(required=True)
    points = Number()
    parts = fields.List(fields.Nested(lambda: Part()), load_default=list)


class Hooked(VendorSchema):
    a = Text()

    @post_load
    def _mark(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**data, "hooked": True}


class Everything(VendorSchema):
    text = Text()
    renamed = Text(data_key="Renamed Text", attribute="other")
    needed = Text(required=True)
    needed_or_null = Text(required=True, allow_none=True)
    number = Number()
    number_or_zero = Number(load_default=Decimal(0))
    never_null = Number(load_default=Decimal(1), allow_none=False)
    whole = WholeNumber()
    ident = Identifier()
    flag = Flag()
    at = UnixTime()
    at_millis = UnixMillis()
    at_iso = IsoTime()
    at_any = IsoTime(assume_utc=True, numbers=(UnixTime, UnixMillis), required=True, data_key="at any")
    took = Duration()
    colour = Colour()
    stubborn = Stubborn()
    chosen = Text(validate=validate.OneOf(["a", "b"]))
    part = fields.Nested(Part)
    part_or_null = fields.Nested(Part, load_default=None)
    part_raising = fields.Nested(Part, unknown="raise")
    parts = fields.Nested(Part, many=True)
    listed = fields.List(fields.Nested(Part))
    hooked = fields.Nested(Hooked)
    texts = fields.List(Text(), load_default=list)
    strict_numbers = fields.List(Number(required=True))
    plain = fields.Integer()
    anything = fields.Raw(allow_none=True)
    computed = fields.Function(deserialize=lambda value: f"<{value}>")


read_everything = loader(Everything)

WORDS = st.sampled_from(
    (
        *("", " ", "a", "red", "yes", "No", "true", "1", "0", "12", "12.0", "12.5", "-7", "1e3", "NaN", "1_000", "٣"),
        *("1700000000", "1700000000000", "00:12:33", "'01:00:00", "1:2:3", "9" * 40, "."),
        *("2026-03-02T09:41:03Z", "2026-03-02 24:00+01", "2026-03-02T09:41:03", "2026-03-02", "0000-00-00T00:00Z"),
    )
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**35), max_value=10**35)
    | st.integers(min_value=0, max_value=4_200_000_000)
    | st.decimals(allow_nan=True, allow_infinity=True)
    | st.decimals(min_value=0, max_value=2_000_000_000, places=3)
    | st.floats()
    | WORDS
    | st.text(max_size=6)
)
PARTS = st.recursive(
    st.fixed_dictionaries({}, optional={"name": SCALARS, "points": SCALARS, "stray": SCALARS}),
    lambda inner: st.fixed_dictionaries({"name": WORDS}, optional={"parts": st.lists(inner, max_size=2) | SCALARS}),
    max_leaves=4,
)
VALUES = SCALARS | PARTS | st.lists(SCALARS | PARTS, max_size=3) | st.tuples(SCALARS)
DECLARED = Everything()
KEYS = [field.data_key or name for name, field in DECLARED.load_fields.items()]
NEEDED = ("needed", "needed_or_null", "at any")
OPTIONAL = dict.fromkeys(sorted({*KEYS} - {*NEEDED}), VALUES)


def outcome(call: Any, payload: Any) -> Any:
    try:
        return call(payload)
    except ValidationError:
        return "refused"
    except Unreadable as error:
        return "refused" if error.reason == "bad_shape" else error


@given(
    st.fixed_dictionaries(dict.fromkeys(NEEDED, SCALARS), optional=OPTIONAL)
    | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), VALUES)
    | VALUES
)
def test_the_compiled_loader_answers_as_the_declared_schema_does(payload: Any) -> None:
    assert outcome(read_everything, payload) == outcome(DECLARED.load, payload)


@settings(max_examples=settings.default.max_examples * 2)
@given(value=VALUES)
def test_each_kind_of_field_alone_is_read_as_declared(value: Any) -> None:
    # One field at a time, so that a refusal of another field cannot hide a difference.
    for key in KEYS:
        payload = {"needed": "x", "needed_or_null": "x", "at any": 1_700_000_000, key: value}
        assert outcome(read_everything, payload) == outcome(DECLARED.load, payload), key


def test_a_usual_payload_does_not_touch_marshmallow(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usual(VendorSchema):
        text, number, whole = Text(), Number(), WholeNumber()
        flag, at, took, at_iso = Flag(), UnixTime(), Duration(), IsoTime(assume_utc=True)
        parts = fields.List(fields.Nested(Part))

    read = loader(Usual)
    payload = {
        "text": "x",
        "number": Decimal("7.5"),
        "whole": "12",
        "flag": "Yes",
        "at": 1_700_000_000,
        "took": "00:12:33",
        "at_iso": "2026-03-02T09:41:03",
        "parts": [{"name": "p", "points": 1, "parts": [{"name": "q", "parts": []}]}],
    }
    expected = Usual().load(payload)
    monkeypatch.setattr(Schema, "load", lambda *_, **__: pytest.fail("the declared schema was asked"))
    assert read(payload) == expected
    assert expected["parts"][0]["parts"] == [{"name": "q", "points": None, "parts": []}]


@pytest.mark.parametrize(
    ("shape", "spelling", "meaning"),
    [
        (Text, "Sam", "Sam"),
        (Text, " Sam ", " Sam "),
        (Text, 62510937, "62510937"),
        (Text, Decimal("12.50"), "12.50"),
        (Text, "", None),
        (Number, 0, Decimal(0)),
        (Number, "70", Decimal(70)),
        (Number, " 70.25 ", Decimal("70.25")),
        (Number, Decimal("0.1"), Decimal("0.1")),
        (Number, "12.50", Decimal("12.50")),
        (Number, "+.5", Decimal("0.5")),
        (Number, "1E2", Decimal("1E+2")),
        (Number, "", None),
        (WholeNumber, "1956", 1956),
        (WholeNumber, Decimal("12.0"), 12),
        (WholeNumber, "", None),
        (Identifier, "62510937", 62510937),
        (Flag, True, True),
        (Flag, "false", False),
        (Flag, "YES", True),
        (Flag, "No", False),
        (Flag, 1, True),
        (Flag, 0, False),
        (Flag, "", False),
        (UnixTime, 1436263522, datetime(2015, 7, 7, 10, 5, 22, tzinfo=UTC)),
        (UnixTime, "1436263522", datetime(2015, 7, 7, 10, 5, 22, tzinfo=UTC)),
        (UnixTime, Decimal("1436263522.25"), datetime(2015, 7, 7, 10, 5, 22, 250_000, tzinfo=UTC)),
        (UnixTime, "", None),
        (UnixMillis, 1436263522250, datetime(2015, 7, 7, 10, 5, 22, 250_000, tzinfo=UTC)),
        (UnixMillis, " 1436263522250.5 ", datetime(2015, 7, 7, 10, 5, 22, 250_500, tzinfo=UTC)),
        (UnixMillis, "", None),
        (Duration, "00:12:33", 753),
        (Duration, "'100:00:01", 360_001),
        (Duration, "", None),
    ],
)
def test_a_field_reads_every_spelling(shape: type[TolerantField], spelling: Any, meaning: Any) -> None:
    read = loader(type("One", (VendorSchema,), {"it": shape()}))
    result = read({"it": spelling})["it"]
    assert (result, type(result)) == (meaning, type(meaning))


@pytest.mark.parametrize(
    "shape", [Text, Number, WholeNumber, Identifier, Flag, UnixTime, UnixMillis, IsoTime, Duration]
)
def test_absent_and_null_are_both_none(shape: type[TolerantField]) -> None:
    read = loader(type("One", (VendorSchema,), {"it": shape()}))
    assert read({}) == read({"it": None}) == {"it": None}


@pytest.mark.parametrize("field", [fields.Nested(Part), fields.Dict(), fields.List(fields.Dict())], ids=repr)
def test_a_member_of_marshmallow_that_is_absent_or_null_is_none_unless_it_says_otherwise(
    field: fields.Field[Any],
) -> None:
    read = loader(type("One", (VendorSchema,), {"it": field}))
    assert read({}) == read({"it": None}) == {"it": None}
    with pytest.raises(Unreadable):
        read({"it": 7})
    with_default = loader(type("One", (VendorSchema,), {"it": fields.Dict(load_default=dict)}))
    assert with_default({}) == {"it": {}}
    with pytest.raises(Unreadable):
        with_default({"it": None})


@pytest.mark.parametrize(
    ("shape", "spelling", "problem"),
    [
        (Text, True, "must be text, got true/false"),
        (Text, ["x"], "must be text, got a list"),
        (Number, True, "must be a number, got true/false"),
        (Number, "1_000", "must be a number, got text of 5 characters"),
        (Number, "12,5", "must be a number, got text of 4 characters"),
        (Number, "٣", "must be a number, got text of 1 characters"),
        (Number, Decimal("NaN"), "must be a number of at most 30 digits"),
        (Number, "9" * 31, "must be a number of at most 30 digits"),
        (Number, "1e300", "must be a number of at most 30 digits"),
        (Identifier, -5, "must not be negative"),
        (Identifier, "-5", "must not be negative"),
        (WholeNumber, "12.5", "must be a whole number, got a fraction"),
        (WholeNumber, "9" * 20, "must be a whole number of at most 19 digits"),
        (Flag, "maybe", "must be true/false, got text of 5 characters"),
        (Flag, 2, "must be true/false, got a number"),
        (UnixTime, 1436263522000, "must be UNIX seconds in the years 1990 to 2099"),
        (UnixTime, 0, "must be UNIX seconds in the years 1990 to 2099"),
        (UnixMillis, 1436263522, "must be UNIX milliseconds in the years 1990 to 2099"),
        (UnixMillis, True, "must be a number, got true/false"),
        (Duration, "12:33", 'must be a duration "HH:MM:SS", got text of 5 characters'),
        (Duration, "00:61:00", 'must be a duration "HH:MM:SS", got text of 8 characters'),
    ],
)
def test_a_refusal_names_path_and_problem(shape: type[TolerantField], spelling: Any, problem: str) -> None:
    read = loader(type("One", (VendorSchema,), {"it": shape()}))
    with pytest.raises(Unreadable) as refusal:
        read({"it": spelling})
    assert (str(refusal.value), refusal.value.reason) == (f"it: {problem}", "bad_shape")


def test_a_refusal_has_the_whole_path_and_counts_the_other_problems() -> None:
    with pytest.raises(Unreadable) as refusal:
        loader(Part)({"name": "a", "parts": [{"name": "b"}, {"points": "x"}]})
    assert str(refusal.value) == "parts.1.name: is missing (and 1 more)"


@pytest.mark.parametrize("value", ["", None])
def test_a_required_field_refuses_nothing(value: Any) -> None:
    with pytest.raises(Unreadable, match=r"^name: is empty$"):
        loader(Part)({"name": value})


def test_a_payload_that_is_no_object_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"^payload: must be an object$"):
        loader(Part)([])


@given(st.fixed_dictionaries({"text": st.just(["sam@example.test"]), "number": st.just("sam@example.test")}))
def test_a_refusal_quotes_no_value(payload: dict[str, Any]) -> None:
    with pytest.raises(Unreadable) as refusal:
        read_everything(payload)
    assert "sam" not in str(refusal.value)
