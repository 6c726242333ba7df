"""Reads JSON: strictly where the schema promises a type, tolerantly where a later minor version may add something."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Callable, NoReturn, Optional, TypeVar

from attempt_bridge_client.errors import EventRejected

__all__ = ["Members", "json_object", "unreadable"]

T = TypeVar("T")
_MISSING = object()


def unreadable(message: str) -> EventRejected:
    """The error for what is not an event of this major version."""
    return EventRejected(message, reason="unreadable")


def json_object(body: bytes | str) -> dict[str, Any]:
    """The JSON object in `body`. Raises `EventRejected`."""
    try:
        value = json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise unreadable("body: not JSON") from error
    if not isinstance(value, dict):
        raise unreadable("body: not a JSON object")
    return value


def _not_json(name: str) -> NoReturn:
    raise ValueError(name)


class Members:
    """The members of one JSON object, each read at most once; `rest` returns those that were not read.

    Each method raises `EventRejected` if the member is missing or of another type. `sparse`: the subscription may get
    only some of the fields, so a missing list or object counts as empty.
    """

    def __init__(self, value: object, path: str, *, sparse: bool = False) -> None:
        if not isinstance(value, Mapping):
            raise unreadable(f"{path or 'event'}: not an object")
        self._left = dict(value)
        self._path = path
        self._sparse = sparse

    def text(self, name: str) -> str:
        """A string."""
        return self._of(name, str)

    def whole(self, name: str) -> int:
        """An integer, even if written `1.0`."""
        number = self.number(name)
        if number != int(number):
            raise self._wrong(name)
        return int(number)

    def number(self, name: str) -> float:
        """A number."""
        value = self._take(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -math.inf < value < math.inf:
            raise self._wrong(name)
        return value

    def boolean(self, name: str) -> bool:
        """true or false."""
        return self._of(name, bool)

    def moment(self, name: str) -> datetime:
        """A time that has an offset, converted to UTC."""
        text = self.text(name)
        try:
            value = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
            if value.tzinfo is None:
                raise self._wrong(name)
            return value.astimezone(timezone.utc)
        except (ValueError, OverflowError) as error:
            raise self._wrong(name) from error

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self._of(name, list)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(name)
        return tuple(values)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object whose members are the vendor's own."""
        return self._of(name, dict)

    def text_mapping(self, name: str) -> Mapping[str, str]:
        """An object whose members are strings."""
        values: dict[str, str] = self._of(name, dict)
        if not all(isinstance(value, str) for value in values.values()):
            raise self._wrong(name)
        return values

    def part(self, name: str, read: Callable[[object, str], T]) -> T:
        """An object that `read` turns into a type."""
        return read(self._of(name, dict), self._at(name))

    def parts(self, name: str, read: Callable[[object, str], T]) -> tuple[T, ...]:
        """A list of such objects."""
        return tuple(read(value, f"{self._at(name)}[{place}]") for place, value in enumerate(self._of(name, list)))

    def optional(self, name: str, read: Callable[[str], T]) -> Optional[T]:
        """None if it is null or missing, otherwise `read(name)`."""
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return None
        return read(name)

    def optional_part(self, name: str, read: Callable[[object, str], T]) -> Optional[T]:
        """None if it is null or missing, otherwise an object that `read` turns into a type."""
        return self.optional(name, lambda given: self.part(given, read))

    def rest(self) -> Mapping[str, Any]:
        """The members that this version does not know."""
        return self._left

    def _take(self, name: str) -> Any:
        value = self._left.pop(name, _MISSING)
        if value is _MISSING:
            raise unreadable(f"{self._at(name)}: missing")
        return value

    def _of(self, name: str, wanted: type[T]) -> T:
        if self._sparse and wanted in (list, dict) and name not in self._left:
            return wanted()
        value = self._take(name)
        if not isinstance(value, wanted):
            raise self._wrong(name)
        return value

    def _wrong(self, name: str) -> EventRejected:
        return unreadable(f"{self._at(name)}: not of the promised type")

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name
