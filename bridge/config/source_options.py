"""The options of a source in bridge.yaml, read as its vendor's folder declares them (`bridge/sdk/options.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields

from bridge.config.addresses import is_secret_name
from bridge.config.fields import Duration, Text, flag, kind_of, one_or_many
from bridge.config.yaml_document import Document, KeyPath, Reference, SpelledNumber
from bridge.errors import clip
from bridge.sdk.fields import Number
from bridge.sdk.options import Option
from bridge.sdk.vendor import Vendor
from bridge.text import did_you_mean

__all__ = ["may_be_secret", "read_options"]


def read_options(given: Mapping[str, Any], vendor: Vendor, path: KeyPath, document: Document) -> dict[str, Any]:
    """Every option that the vendor declares, from `given` or by default; adds a problem for each that does not fit."""
    options = {name: option.default for name, option in vendor.options.items()}
    for name in given.keys() - vendor.options.keys():
        document.add((*path, name), f"{vendor.title} has no such option. {did_you_mean(name, vendor.options)}")
    for name, option in vendor.options.items():
        value = given.get(name)
        if value is None:
            if option.required:
                document.add((*path, name), f"missing. Remedy: set it: {option.help}")
            continue
        try:
            options[name] = _option(option, value)
        except ValidationError as error:
            document.add_messages(error.messages, (*path, name))
        else:
            if option.required and options[name] in ((), {}):
                document.add((*path, name), f"is empty. Remedy: set it: {option.help}")
    return options


def may_be_secret(name: str, value: Any, declared: Option | None) -> bool:
    """Whether an option's value is hidden from those who cannot see the file; defaults and declared choices are not."""
    if declared is not None and (value == declared.default or value in declared.choices):
        return False
    return is_secret_name(name) or _has_reference(value)


def _has_reference(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_reference, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_reference, value))
    return isinstance(value, Reference)


def _option(option: Option, value: Any) -> Any:
    """One option by its declared kind. Lists hold text: an id written as a number is still an id."""
    if option.kind == "list":
        return tuple(fields.List(Text(_among(option))).deserialize(list(map(_id, one_or_many(value)))))
    if option.kind == "mapping":
        return _mapping(option, value)
    return _value(option.kind, option, value)


def _id(value: Any) -> Any:
    """A whole number as it is written: the ids 007 and 7 differ."""
    if isinstance(value, SpelledNumber):
        return value.spelling
    return str(value) if type(value) is int else value


def _mapping(option: Option, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValidationError(f"must be a section of keys, such as {{id: value}}, not {kind_of(value)}")
    members: dict[str, Any] = {}
    problems: dict[str, Any] = {}
    for key, member in value.items():
        try:
            members[str(Text().deserialize(key))] = _value(option.values, option, member)
        except ValidationError as error:
            problems[key] = error.messages
    if problems:
        raise ValidationError(problems)
    return members


def _value(kind: str, option: Option, value: Any) -> Any:
    if value is None:
        raise ValidationError("is empty")
    if kind == "duration":
        return Duration("0s").deserialize(value)
    if kind == "bool":
        return flag().deserialize(value)
    if kind == "int":
        return fields.Integer(strict=True, error_messages={"invalid": "must be a whole number"}).deserialize(value)
    if kind == "decimal":
        return _decimal(value)
    return Text(_among(option)).deserialize(value)


def _decimal(value: Any) -> Decimal:
    """The number exactly as written: YAML's 0.1 is the nearest binary number, whose shortest text is 0.1 again."""
    try:
        if isinstance(value, float):
            value = repr(value)
        number = Number.convert(int(value) if isinstance(value, SpelledNumber) else value)
    except ValueError as error:
        wrong = (
            "" if isinstance(value, str | int | float) and not isinstance(value, bool) else f", not {kind_of(value)}"
        )
        raise ValidationError(f"must be a number such as 0.5, of at most 30 digits{wrong}") from error
    if number is None:
        raise ValidationError("is empty")
    return number


def _among(option: Option) -> Callable[[str], str | None]:
    def problem(text: str) -> str | None:
        if not option.choices or text in option.choices:
            return None
        return f'"{clip(text, 40)}" is not one of {", ".join(option.choices)}'

    return problem
