"""What a vendor's folder declares about the settings of its sources; the defaults are checked when they are declared.

How they are read from bridge.yaml is in `bridge/config/source_options.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bridge.errors import clip
from bridge.sdk.fields import Number
from bridge.text import parse_duration

__all__ = ["KINDS", "VALUES", "Option", "plain"]

#: The kinds of an option, and of the values of a mapping.
KINDS = ("str", "bool", "int", "decimal", "duration", "list", "mapping")
VALUES = ("str", "int", "decimal", "duration")
_EXPECTED = {
    "str": "text that is not empty",
    "bool": "True or False",
    "int": "an int",
    "decimal": 'a Decimal, an int or text such as "0.5"',
    "duration": 'seconds or text such as "14d"',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A vendor-specific setting of a source. Making one raises `ValueError` for a default that does not fit.

    In a source's options a decimal is a `Decimal`, a duration seconds, a list a tuple of texts, and a mapping a dict
    with texts as keys, which may be numbers in bridge.yaml.
    """

    #: What it changes; for a required one, what to write there.
    help: str
    #: The value for a source that does not set it. A decimal may be written as text, a duration as text such as "14d".
    #: None: not set; a list or mapping is then empty.
    default: Any = None
    #: `str`, `bool`, `int`, `decimal`, `duration`, `list` or `mapping`.
    kind: str = "str"
    #: The allowed texts, also as items of a list or values of a mapping; empty: any.
    choices: tuple[str, ...] = ()
    #: Every source must set it, a list or mapping with at least one item; there is no default.
    required: bool = False
    #: The kind of a mapping's values: `str`, `int`, `decimal` or `duration`.
    values: str = "str"

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "default", _checked_default(self))
        except ValueError as error:
            raise ValueError(f'option "{clip(self.help, 60)}": {error}') from error


def plain(value: Any) -> Any:
    """An option's value as JSON and YAML can hold it: a decimal is a number where that is exact, otherwise text."""
    if isinstance(value, Mapping):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if not isinstance(value, Decimal):
        # Text from a `${...}` reference has a class of its own.
        return str(value) if isinstance(value, str) else value
    if value == value.to_integral_value() and abs(value) < 10**15:
        return int(value)
    number = float(value)
    return number if Decimal(repr(number)) == value else str(value)


def _checked_default(option: Option) -> Any:
    """The default in the form that sources have. Raises `ValueError`."""
    kind, default = option.kind, option.default
    if kind not in KINDS:
        raise ValueError(f'kind "{clip(kind, 40)}" is not one of {", ".join(KINDS)}')
    if option.values not in VALUES:
        raise ValueError(f'values "{clip(option.values, 40)}" is not one of {", ".join(VALUES)}')
    if option.values != "str" and kind != "mapping":
        raise ValueError(f"values is for mappings, not for kind {kind}. Remedy: leave it out")
    if option.choices and kind not in ("str", "list", "mapping"):
        raise ValueError(f"choices are for texts, not for kind {kind}. Remedy: leave them out")
    if option.required and default is not None:
        raise ValueError("is required, so it has no default. Remedy: leave out one of them")
    if kind == "list":
        return tuple(_value("str", item, option.choices) for item in _items(default))
    if kind == "mapping":
        return {
            _value("str", key): _value(option.values, value, option.choices) for key, value in _members(default).items()
        }
    return None if default is None else _value(kind, default, option.choices)


def _items(default: Any) -> list[Any] | tuple[Any, ...]:
    if default is None or isinstance(default, list | tuple):
        return default or ()
    raise ValueError("default must be a tuple of texts")


def _members(default: Any) -> Mapping[Any, Any]:
    if default is None or isinstance(default, Mapping):
        return default or {}
    raise ValueError("default must be a mapping with texts as keys")


def _value(kind: str, value: Any, choices: tuple[str, ...] = ()) -> Any:
    is_bool = isinstance(value, bool)
    if kind == "bool" and is_bool:
        return value
    if kind == "int" and isinstance(value, int) and not is_bool:
        return value
    if kind == "duration" and isinstance(value, str | float | int) and not is_bool:
        seconds = parse_duration(value) if isinstance(value, str) else float(value)
        if 0 <= seconds < math.inf:
            return seconds
    if kind == "decimal" and isinstance(value, str | int | Decimal) and (number := Number.convert(value)) is not None:
        return number
    if kind == "str" and isinstance(value, str) and value:
        if choices and value not in choices:
            raise ValueError(f'default "{clip(value, 40)}" is not one of {", ".join(choices)}')
        return value
    raise ValueError(f"default must be {_EXPECTED[kind]}, not {clip(repr(value), 40)}")
