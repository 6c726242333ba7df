"""A compiled `load` for schemas of vendors' payloads; re-exports the fields that they are declared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing

from bridge.errors import Unreadable, clip
from bridge.sdk.fields import (
    Flag,
    Identifier,
    Number,
    Percentage,
    Text,
    TolerantField,
    VendorSchema,
    WholeNumber,
)
from bridge.sdk.time_fields import Duration, IsoTime, UnixMillis, UnixTime

__all__ = [
    "Duration",
    "Flag",
    "Identifier",
    "IsoTime",
    "Number",
    "Percentage",
    "Text",
    "TolerantField",
    "UnixMillis",
    "UnixTime",
    "VendorSchema",
    "WholeNumber",
    "loader",
]

_Convert = Callable[[Any], Any]
#: How the fast path loads a member: key, name in the result, exact type, conversion, whether null is allowed, default.
_Step = tuple[str, str, type | None, _Convert, bool, Any]
_REQUIRED = object()
_LOADING_METHODS = ("deserialize", "_deserialize", "_validate_missing", "_validate")


class _Unsure(Exception):
    """The fast path leaves this payload to the declared schema."""


def loader(schema_class: type[Schema]) -> Callable[[Any], Any]:
    """A function that returns what `schema_class().load(payload)` does, about ten times as fast for ordinary payloads.

    Whatever the fast path cannot load is left to the declared schema, which also words the errors. The function raises
    `Unreadable`: one line with path and problem. It quotes no value, which may be personal.
    """
    schema = schema_class()
    fast = _compile(schema) if _is_plain(schema) else _unsure

    def load(payload: Any) -> dict[str, Any]:
        try:
            return fast(payload)
        except (_Unsure, ValueError, ValidationError):
            return _load_declared(schema, payload)

    return load


def _load_declared(schema: Schema, payload: Any) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = schema.load(payload)
    except ValidationError as error:
        raise Unreadable(_error_line(error.messages), reason="bad_shape") from error
    return loaded


def _unsure(_payload: Any) -> dict[str, Any]:
    raise _Unsure


def _is_plain(schema: Schema) -> bool:
    """Whether loading with `schema` only means loading its fields one by one."""
    return (
        isinstance(schema, VendorSchema)
        and schema.unknown == EXCLUDE
        and schema.partial is None
        and not schema.many
        and not any(schema._hooks.values())
        and not any("." in (field.attribute or name) for name, field in schema.load_fields.items())
    )


def _plan(schema: Schema) -> tuple[list[_Step], list[tuple[str, str, fields.Field[Any]]]]:
    """The steps of the fast path, and the fields that only marshmallow can load: key, name in the result, field."""
    steps: list[_Step] = []
    others: list[tuple[str, str, fields.Field[Any]]] = []
    for declared_name, field in schema.load_fields.items():
        key = declared_name if field.data_key is None else field.data_key
        name = field.attribute or declared_name
        convert = _conversion(field)
        if convert is None:
            others.append((key, name, field))
            continue
        exact = field.exact if isinstance(field, TolerantField) else None
        default = _REQUIRED if field.required else field.load_default
        steps.append((key, name, exact, convert, field.allow_none, default))
    return steps, others


def _compile(schema: Schema) -> Callable[[Any], dict[str, Any]]:
    steps, others = _plan(schema)

    def load(payload: Any) -> dict[str, Any]:
        if payload.__class__ is not dict:
            raise _Unsure
        loaded: dict[str, Any] = {}
        get = payload.get
        for key, name, exact, convert, nullable, default in steps:
            value = get(key, missing)
            if value.__class__ is exact and value:
                loaded[name] = value
                continue
            if value is missing:
                if default is missing:
                    continue
                if default is _REQUIRED:
                    raise _Unsure
                value = default() if callable(default) else default
            else:
                if value is not None:
                    value = convert(value)
                if value is None and not nullable:
                    raise _Unsure
            loaded[name] = value
        for key, name, field in others:
            value = field.deserialize(get(key, missing), key, payload)
            if value is not missing:
                loaded[name] = value
        return loaded

    return load


def _conversion(field: fields.Field[Any]) -> _Convert | None:
    """The function that loads a value other than None as `field` does; None: only the field itself can."""
    if field.validators or field.pre_load or field.post_load:
        return None
    if isinstance(field, TolerantField):
        # A subclass that overrides loading is more than its `convert`.
        plain = all(getattr(type(field), name) is getattr(TolerantField, name) for name in _LOADING_METHODS)
        return field.convert if plain else None
    if isinstance(field, fields.Nested) and type(field) is fields.Nested:
        return _nested_conversion(field)
    if isinstance(field, fields.List) and type(field) is fields.List:
        return _list_conversion(field)
    return None


def _nested_conversion(field: fields.Nested) -> _Convert:
    compiled: list[_Convert] = []

    def convert(value: Any) -> Any:
        # Compiled at first use: a schema may nest itself.
        if not compiled:
            many = field.many or field.schema.many
            plain = not many and field.unknown in (None, EXCLUDE) and _is_plain(field.schema)
            compiled.append(_compile(field.schema) if plain else field.deserialize)
        return compiled[0](value)

    return convert


def _list_conversion(field: fields.List[Any]) -> _Convert | None:
    inner = field.inner
    convert = _conversion(inner)
    if convert is None:
        return None

    def convert_all(values: Any) -> list[Any]:
        if values.__class__ is not list:
            raise _Unsure
        converted = [None if value is None else convert(value) for value in values]
        if not inner.allow_none and None in converted:
            raise _Unsure
        return converted

    return convert_all


def _error_line(messages: Any) -> str:
    """The first problem as `path: problem`, and how many more there are."""
    problems = list(_problems(messages, ()))
    path, problem = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{clip('.'.join(path) or 'payload', 80)}: {clip(problem)}{more}"


def _problems(messages: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
    if isinstance(messages, Mapping):
        # marshmallow reports a problem of the object itself under `_schema`.
        deeper = [(inner, path if name == "_schema" else (*path, str(name))) for name, inner in messages.items()]
    elif isinstance(messages, list):
        deeper = [(inner, path) for inner in messages]
    else:
        return [(path, str(messages))]
    return [problem for inner, inner_path in deeper for problem in _problems(inner, inner_path)]
