"""Tolerant marshmallow fields for vendors' payloads; those of times are in `bridge/sdk/time_fields.py`.

Import all of them from `bridge.sdk.compiled_schema`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing

__all__ = [
    "Flag",
    "Identifier",
    "Number",
    "Percentage",
    "Text",
    "TolerantField",
    "VendorSchema",
    "WholeNumber",
    "expected",
]

#: No score or percentage is longer; the limit keeps numbers from vendors cheap to compute with and to print.
MAX_NUMBER_DIGITS = 30
#: As in `bridge.sdk.strict_json`, for whole numbers sent as text.
MAX_WHOLE_DIGITS = 19
_NUMBER_LIMIT, _WHOLE_LIMIT = 10**MAX_NUMBER_DIGITS, 10**MAX_WHOLE_DIGITS
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_FLAGS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False, "": False}
_TYPE_NAMES = {str: "text", bool: "true/false", int: "a number", Decimal: "a number", dict: "an object", list: "a list"}


class TolerantField(fields.Field[Any]):
    """Base of the fields: loading is one pure function, `convert`, so that `loader` can bypass marshmallow.

    `convert(value)` never gets None. It returns None for an empty value and raises ValueError with a message that does
    not quote the value. A truthy value of exactly the type `exact` needs no conversion. Missing, null and "" become
    None; if the field is `required` all three are errors (`allow_none=True` allows the latter two).
    """

    exact: ClassVar[type | None] = None
    default_error_messages = {"required": "is missing", "null": "is empty"}  # noqa: RUF012 - marshmallow's own declaration

    def __init__(self, **options: Any) -> None:
        if not options.get("required"):
            options.setdefault("load_default", None)
            options.setdefault("allow_none", True)
        super().__init__(**options)

    @staticmethod
    def convert(value: Any) -> Any:
        """The value of the payload, converted."""
        raise NotImplementedError

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        try:
            converted = self.convert(value)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        if converted is None and not self.allow_none:
            raise self.make_error("null")
        return converted

    def _validate(self, value: Any) -> None:
        # marshmallow runs no validator for null; "" means the same here.
        if value is not None:
            super()._validate(value)


class Text(TolerantField):
    """Text as the vendor spells it, not stripped; numbers become text."""

    exact = str

    @staticmethod
    def convert(value: Any) -> str | None:
        if isinstance(value, str):
            return value or None
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return str(value)
        raise expected("text", value)


class Number(TolerantField):
    """Decimal from a number or numeric text of at most 30 digits and a magnitude below 10**30."""

    @staticmethod
    def convert(value: Any) -> Decimal | None:
        kind = type(value)
        if kind is int:
            if not -_NUMBER_LIMIT < value < _NUMBER_LIMIT:
                raise _too_long()
            return Decimal(value)
        number = value if kind is Decimal else _number_in_text(value)
        if number is None:
            return None
        if not number.is_finite() or abs(number.adjusted()) >= MAX_NUMBER_DIGITS:
            raise _too_long()
        # Counting the digits takes four times as long as the text, which is never shorter.
        if len(str(number)) > MAX_NUMBER_DIGITS and len(number.as_tuple().digits) > MAX_NUMBER_DIGITS:
            raise _too_long()
        return number


class Percentage(Number):
    """Decimal like `Number`; a percent sign after it is dropped: "50%" is 50."""

    @staticmethod
    def convert(value: Any) -> Decimal | None:
        return Number.convert(value.strip().removesuffix("%") if isinstance(value, str) else value)


class WholeNumber(TolerantField):
    """int from a whole number; if it is not a JSON integer (12.0, "12") it may have at most 19 digits."""

    exact: ClassVar[type | None] = int

    @staticmethod
    def convert(value: Any) -> int | None:
        if type(value) is int:
            return value
        number = Number.convert(value)
        if number is None:
            return None
        if not -_WHOLE_LIMIT < number < _WHOLE_LIMIT:
            raise ValueError(f"must be a whole number of at most {MAX_WHOLE_DIGITS} digits")
        whole = int(number)
        if whole != number:
            raise ValueError("must be a whole number, got a fraction")
        return whole


class Identifier(WholeNumber):
    """int of an id: a whole number, not negative."""

    exact = None

    @staticmethod
    def convert(value: Any) -> int | None:
        number = WholeNumber.convert(value)
        if number is not None and number < 0:
            raise ValueError("must not be negative")
        return number


class Flag(TolerantField):
    """bool from true/false, 1/0 and the words true, false, yes, no in any case; "" is False."""

    exact = bool

    @staticmethod
    def convert(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, int) and value in (0, 1):
            return value == 1
        flag = _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None
        if flag is None:
            raise expected("true/false", value)
        return flag


class VendorSchema(Schema):
    """Base of the schemas of vendors' payloads. Undeclared members are dropped, because vendors add new ones at any
    time; a member that is not required and has no `load_default`, even one of marshmallow's own fields such as
    `Nested`, is None if it is missing or null.
    """

    class Meta:
        unknown = EXCLUDE

    error_messages = {"type": "must be an object"}  # noqa: RUF012 - marshmallow's own declaration

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Without this, a missing `Nested`, `List` or `Dict` would leave no key in the result."""
        if not field_obj.required and field_obj.load_default is missing:
            field_obj.load_default, field_obj.allow_none = None, True


def _number_in_text(value: Any) -> Decimal | None:
    if not isinstance(value, str):
        raise expected("a number", value)
    text = value.strip()
    if not text:
        return None
    if len(text) > 2 * MAX_NUMBER_DIGITS or not _NUMBER.fullmatch(text):
        raise expected("a number", value)
    return Decimal(text)


def _too_long() -> ValueError:
    return ValueError(f"must be a number of at most {MAX_NUMBER_DIGITS} digits")


def expected(what: str, value: Any) -> ValueError:
    """An error that describes a value without quoting it: it may be a name or an address."""
    size = f" of {len(value)} characters" if isinstance(value, str) else ""
    return ValueError(f"must be {what}, got {_TYPE_NAMES.get(type(value), 'another type')}{size}")
