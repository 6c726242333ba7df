"""The types of fields: how a value is read, and which values of an item it matches."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Protocol

from bridge.query.ranges import parse_number_range, parse_time_range
from bridge.query.scanning import QueryError, Word, in_quotes, is_bare
from bridge.text import did_you_mean

__all__ = ["Boolean", "Condition", "Contains", "Enum", "Glob", "Kind", "Nothing", "Number", "Text", "Time"]

#: The value, without quotes, that matches items which have none.
NOTHING = "none"
_WILD = re.compile(r"[*?]")
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


class Condition(Protocol):
    """One value of a term."""

    def matches(self, value: object) -> bool:
        """Whether a value of an item matches."""
        ...


class Kind(Protocol):
    """The type of a field."""

    #: How values are written, for people.
    syntax: str

    def read(self, name: str, word: Word, now: float) -> Condition:
        """The condition that a value means. `now`: UNIX seconds. Raises `QueryError`."""
        ...


@dataclass(frozen=True, slots=True)
class Nothing:
    """`none`: the item has no value."""

    def matches(self, value: object) -> bool:
        """Whether the value is missing."""
        return value is None or value == ""

    def __str__(self) -> str:
        return NOTHING


@dataclass(frozen=True)
class Pattern:
    """A text, exactly; or, if it is not `literal`, with `*` for any characters and `?` for one."""

    text: str
    literal: bool

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        # Only our two wildcards: an id may hold brackets.
        return re.compile(translate(self.text.replace("[", "[[]")))

    def matches(self, value: object) -> bool:
        """Whether a text fits, in the same case."""
        if not isinstance(value, str):
            return False
        return value == self.text if self.literal else self._compiled.match(value) is not None

    def __str__(self) -> str:
        plain = is_bare(self.text) and self.text != NOTHING and self.literal != bool(_WILD.search(self.text))
        return self.text if plain else in_quotes(self.text)


@dataclass(frozen=True, slots=True)
class Truth:
    """`true` or `false`."""

    wanted: bool

    def matches(self, value: object) -> bool:
        """Whether the value is the wanted one; a missing value is neither."""
        return value is self.wanted

    def __str__(self) -> str:
        return "true" if self.wanted else "false"


@dataclass(frozen=True)
class Contains:
    """A piece of a text, in any case."""

    text: str

    @cached_property
    def _folded(self) -> str:
        return self.text.casefold()

    def matches(self, value: object) -> bool:
        """Whether the text is in the value."""
        return isinstance(value, str) and self._folded in value.casefold()

    def __str__(self) -> str:
        return in_quotes(self.text)


class Glob:
    """Texts with `*` and `?`. `known`: all possible texts, where these are known."""

    syntax = "text; * for any characters, ? for one"

    def __init__(self, known: Collection[str] = ()) -> None:
        self.known = known

    def read(self, name: str, word: Word, now: float) -> Condition:
        """The condition that a value means. Raises `QueryError`."""
        if word.text == NOTHING and not word.quoted:
            return Nothing()
        literal = word.quoted or _WILD.search(word.text) is None
        if literal and self.known and word.text not in self.known:
            raise _unknown(name, word, self.known)
        return Pattern(word.text, literal)


class Enum:
    """One of a few words."""

    def __init__(self, *values: str) -> None:
        self.values = values
        self.syntax = ", ".join(values)

    def read(self, name: str, word: Word, now: float) -> Condition:
        """The condition that a value means. Raises `QueryError`."""
        if word.text == NOTHING and not word.quoted:
            return Nothing()
        if word.text not in self.values:
            raise _unknown(name, word, self.values)
        return Pattern(word.text, True)


class Boolean:
    """`true` or `false`."""

    syntax = "true, false, none"

    def read(self, name: str, word: Word, now: float) -> Condition:
        """The condition that a value means. Raises `QueryError`."""
        if word.text == NOTHING:
            return Nothing()
        if word.text not in _TRUTH:
            remedy = f"Write {name}:true, {name}:false or {name}:none"
            raise QueryError.at(word.position, f"{name} is neither true nor false", word.text, remedy=remedy)
        return Truth(_TRUTH[word.text])


class Number:
    """A number, compared."""

    syntax = "50, <50, <=50, >50, >=50, 40..60, none"

    def read(self, name: str, word: Word, now: float) -> Condition:
        """The condition that a value means. Raises `QueryError`."""
        if word.text == NOTHING:
            return Nothing()
        try:
            return parse_number_range(word.text)
        except ValueError as error:
            raise QueryError.of(word.position, name, error) from None


class Time:
    """A moment, compared."""

    syntax = "2h (the last two hours), 2026-11-01 (that day), <, <=, >, >= and .. with both, none"

    def read(self, name: str, word: Word, now: float) -> Condition:
        """The condition that a value means. Raises `QueryError`."""
        if word.text == NOTHING:
            return Nothing()
        try:
            return parse_time_range(word.text, now)
        except ValueError as error:
            raise QueryError.of(word.position, name, error) from None


class Text:
    """A piece of a text, in any case."""

    syntax = "a piece of the text, in any case"

    def read(self, name: str, word: Word, now: float) -> Condition:
        """The condition that a value means."""
        return Nothing() if word.text == NOTHING and not word.quoted else Contains(word.text)


def _unknown(name: str, word: Word, known: Collection[str]) -> QueryError:
    return QueryError.at(word.position, f"unknown {name}", word.text, remedy=did_you_mean(word.text, known))
