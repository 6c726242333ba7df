"""What a subscription gets, as written in bridge.yaml: `filter` says which events, `data` how much of each."""

from __future__ import annotations

from dataclasses import fields as members_of
from fnmatch import fnmatchcase
from typing import Any

from marshmallow import ValidationError, fields, pre_load
from marshmallow.validate import Length

from bridge.config.fields import Text, kind_of, one_or_many
from bridge.config.section import SectionSchema
from bridge.config.yaml_document import SpelledNumber
from bridge.errors import clip
from bridge.query import parse_number_range
from bridge.sdk.vendor import GRADINGS
from bridge.text import did_you_mean
from schemas.event import ATTEMPT_TYPES, Result
from schemas.notices import NOTICE_TYPES
from schemas.projection import field_problem

__all__ = ["EVENT_TYPES", "FilterSchema", "Projection"]

EVENT_TYPES = (*ATTEMPT_TYPES, *NOTICE_TYPES)
_PROJECTIONS = ("full", "minimal")
#: Members of `data.result` that are numbers, so that they can be compared.
_NUMBERS = ("score", "max_score", "percentage", "pass_mark_percentage")


def _type_problem(text: str) -> str | None:
    if any(fnmatchcase(known, text) for known in EVENT_TYPES):
        return None
    return f'"{clip(text, 40)}" is not an event type. {did_you_mean(text, (*EVENT_TYPES, "attempt.*", "source.*"))}'


class Projection(fields.Field[Any]):
    """`full`, `minimal`, or a list of fields below `data`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str | tuple[str, ...]:
        if isinstance(value, str) and value in _PROJECTIONS:
            return value
        if not isinstance(value, list):
            shown = f'"{clip(value, 40)}"' if isinstance(value, str) else kind_of(value)
            raise ValidationError(f"{shown} is not one of full, minimal, or a list such as [result.passed, vendor.ids]")
        if not value:
            raise ValidationError("is empty. Remedy: name a field, such as [result.passed], or write minimal")
        problems = {place: [problem] for place, name in enumerate(value) if (problem := field_problem(name))}
        if problems:
            raise ValidationError(problems)
        return tuple(dict.fromkeys(value))


class _Member(fields.Field[Any]):
    """A value to compare a member of `data.result` with: text, number, true, false or null."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> Any:
        wrong = None
        if attr in _NUMBERS and isinstance(value, str):
            try:
                return parse_number_range(value)
            except ValueError as error:
                raise ValidationError(str(error)) from None
        if isinstance(value, list | dict):
            wrong = f"must be one value, not {kind_of(value)}"
        elif attr == "passed" and not isinstance(value, bool | None):
            wrong = "must be true, false or null"
        elif attr in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float | None)):
            wrong = f'must be a number, null or a comparison such as "<50", not {kind_of(value)}'
        elif attr == "grading" and value not in GRADINGS:
            wrong = f'"{clip(value, 40)}" is not one of {", ".join(sorted(GRADINGS))}'
        if wrong:
            raise ValidationError(wrong)
        return int(value) if isinstance(value, SpelledNumber) else value


class _AnyOf(fields.List[Any]):
    """A list of names or patterns, or one of them."""

    def __init__(self, check: Any = None) -> None:
        super().__init__(Text(check), validate=Length(min=1, error="is empty. Remedy: leave it out or name one"))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> Any:
        return tuple(super()._deserialize(one_or_many(value), attr, data, **rest))


#: The members of `data.result` that `when` may name: all but the replaced result.
_WHEN: dict[str, fields.Field[Any]] = {
    member.name: _Member(allow_none=True) for member in members_of(Result) if member.name != "previous"
}
#: Also the event's flags: it must have one of those that are named.
_WHEN["flags"] = _AnyOf()


class _WhenSchema(SectionSchema.from_dict(_WHEN, name="_WhenMembers")):  # type: ignore[misc]
    @pre_load
    def _drop_empty(self, data: Any, **rest: Any) -> Any:
        super()._drop_empty(data, **rest)
        return data  # `grade: null` asks for results without a grade


class FilterSchema(SectionSchema):
    types = fields.List(
        Text(_type_problem),
        validate=Length(min=1, error="is empty, so nothing would be delivered. Remedy: leave it out or name a type"),
        error_messages={"invalid": "must be a list such as [attempt.completed]"},
    )
    sources = fields.List(Text(), error_messages={"invalid": 'must be a list such as ["eu-*"]'})
    vendor = _AnyOf()
    when = fields.Nested(_WhenSchema)
