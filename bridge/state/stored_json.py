"""Records that are stored as JSON, whichever version of the bridge has written them.

A later version may have added members. They are ignored; a class with a field `later` keeps them for writing the
record back. An earlier version has not written new members, so every new field has a default. A value that is not a
record of its kind affects only itself: `record_or_none` logs it once and leaves it out. A class with a field `raw`
keeps the bytes that a record was read from, for replacing it only if it has not changed since.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from functools import cache, lru_cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import structlog

__all__ = ["UnreadableRecord", "json_object", "read_record", "record_or_none", "to_members"]

_T = TypeVar("_T")
#: Fields that are not members: those of a later version, and the bytes that the record was read from.
_LATER, _RAW = "later", "raw"
#: Larger numbers, NaN and infinity are never ours.
_LARGEST = 2**63
_NAMES: Mapping[str, str] = types.MappingProxyType({})

_log = structlog.get_logger(__name__)


class UnreadableRecord(ValueError):
    """A stored value is not a record of its kind. The message names members but no value, which may name a person."""


def json_object(text: bytes | str) -> dict[str, Any]:
    """The members of a stored JSON object. Raises `UnreadableRecord`."""
    try:
        members = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableRecord("it is not JSON") from error
    if not isinstance(members, dict):
        raise UnreadableRecord("it is not a JSON object")
    return members


def read_record(kind: type[_T], text: bytes | str, *, names: Mapping[str, str] = _NAMES, **given: Any) -> _T:
    """The record, an instance of a dataclass. Raises `UnreadableRecord`.

    `names`: field -> its member, where they differ. `given`: fields that are not stored in it, such as its key.
    """
    members = json_object(text)
    record = _from_members(kind, members, names, given)
    own = {field.name for field in fields(cast("Any", kind))}
    extra: dict[str, Any] = {_RAW: text} if _RAW in own else {}
    if _LATER in own:
        known = {names.get(name, name) for name in own}
        extra[_LATER] = {name: value for name, value in members.items() if name not in known}
    return replace(cast("Any", record), **extra) if extra else record


def record_or_none(
    kind: type[_T], text: bytes | str, *, place: str, names: Mapping[str, str] = _NAMES, **given: Any
) -> _T | None:
    """The record; None for a value that is not one, which is logged once. `place`: where it is stored."""
    try:
        return read_record(kind, text, names=names, **given)
    except UnreadableRecord as error:
        log_unreadable(place, str(error))
        return None


@lru_cache(maxsize=1024)
def log_unreadable(place: str, problem: str) -> None:
    """Log that a stored value cannot be read: once, because it may be read again every second."""
    remedy = "if a later version has written it, run that one; otherwise delete it"
    _log.error("stored_record_unreadable", place=place, problem=problem, remedy=remedy)


def to_members(record: Any, *, names: Mapping[str, str] = _NAMES) -> dict[str, Any]:
    """The members of a record as they are stored, with those of a later version."""
    own = asdict(record)
    later, _ = own.pop(_LATER, {}), own.pop(_RAW, None)
    return {**{names.get(name, name): value for name, value in own.items()}, **later}


def _from_members(kind: type[_T], members: Mapping[str, Any], names: Mapping[str, str], given: Mapping[str, Any]) -> _T:
    readers, required = _shape(cast("Any", kind))
    values = dict(given)
    for field in readers:
        member = names.get(field, field)
        if field in given:
            continue
        if member in members:
            try:
                values[field] = readers[field](members[member])
            except (TypeError, ValueError) as error:
                raise UnreadableRecord(f"{member}: {error}") from error
        elif field in required:
            raise UnreadableRecord(f"{member}: missing")
    return kind(**values)


@cache
def _shape(kind: type) -> tuple[Mapping[str, Callable[[Any], Any]], frozenset[str]]:
    """Field -> what reads its member; and the fields without a default."""
    hints, declared = get_type_hints(kind), [field for field in fields(kind) if field.name not in (_LATER, _RAW)]
    required = {field.name for field in declared if field.default is MISSING and field.default_factory is MISSING}
    return {field.name: _reader(hints[field.name]) for field in declared}, frozenset(required)


def _reader(hint: Any) -> Callable[[Any], Any]:
    """What turns a JSON value into a value of this type, or raises `TypeError` or `ValueError`."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: value
    if hint in _PLAIN:
        return _PLAIN[hint]
    if is_dataclass(hint):
        nested: Any = hint
        return lambda value: _from_members(nested, _mapping(value), _NAMES, {})
    if origin in (types.UnionType, Union) and len(args) == 2 and args[1] is types.NoneType:
        read = _reader(args[0])
        return lambda value: None if value is None else read(value)
    if origin is tuple and args[1:] == (...,):
        read = _reader(args[0])
        return lambda value: tuple(map(read, _list(value)))
    if origin is list:
        read = _reader(args[0])
        return lambda value: list(map(read, _list(value)))
    if origin in (dict, Mapping) and args[0] is str:
        read = _reader(args[1])
        return lambda value: {_text(name): read(member) for name, member in _mapping(value).items()}
    raise TypeError(f"a field of type {hint} cannot be stored")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    try:
        # JSON can hold half a surrogate pair; writing it back would raise UnicodeEncodeError.
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("not a text in Unicode") from None
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not -_LARGEST <= value <= _LARGEST:
        raise TypeError("not a number")
    return value


def _integer(value: Any) -> int:
    # Lua writes some whole numbers as 1.7e+09.
    if int(number := _number(value)) != number:
        raise TypeError("not a whole number")
    return int(number)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


_PLAIN: Mapping[Any, Callable[[Any], Any]] = {str: _text, float: _number, int: _integer, bool: _boolean}
