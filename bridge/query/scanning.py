"""Splits the text of a filter into terms: `field:value,value`, words, and texts in quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bridge.errors import clip
from bridge.text import text_problem

__all__ = ["MAX_LENGTH", "MAX_TERMS", "QueryError", "RawTerm", "Word", "in_quotes", "is_bare", "scan"]

#: Characters of a filter, and terms in it.
MAX_LENGTH = 1000
MAX_TERMS = 50

_FIELD = re.compile(r"([A-Za-z_][\w.-]*):")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
#: A value ends at a comma, a word of free text does not.
_VALUE, _WORD = re.compile(r'[^\s",]+'), re.compile(r'[^\s"]+')
_BLANKS = re.compile(r"\s*")


class QueryError(ValueError):
    """A filter cannot be read. The message says what is wrong, where, and what to write instead."""

    def __init__(self, message: str, position: int) -> None:
        """`position`: index of the character in the text, from 0; messages count from 1."""
        super().__init__(message)
        self.position = position

    @classmethod
    def at(cls, position: int, fact: str, value: str | None = None, *, remedy: str) -> QueryError:
        """The error for a fact at a position."""
        quoted = "" if value is None else f': "{clip(value, 40)}"'
        return cls(f"{fact} at character {position + 1}{quoted}. {remedy}", position)

    @classmethod
    def of(cls, position: int, name: str, error: ValueError) -> QueryError:
        """The error for a value that a reader of ranges or times refused."""
        return cls(f"{name} at character {position + 1}: {error}", position)


@dataclass(frozen=True, slots=True)
class Word:
    """One value, without its quotes. `position`: index of its first character, from 0."""

    text: str
    quoted: bool
    position: int


@dataclass(frozen=True, slots=True)
class RawTerm:
    """`-field:value,value`; `field` is None for free text, which has one word."""

    field: str | None
    excluded: bool
    words: tuple[Word, ...]
    position: int


def in_quotes(text: str) -> str:
    """The text as a value in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def is_bare(text: str) -> bool:
    """Whether the text needs no quotes as a value."""
    return _VALUE.fullmatch(text) is not None


def scan(text: str) -> Iterator[RawTerm]:
    """The terms of a filter. Raises `QueryError`."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"filter too long: {len(text)} characters. Shorten it to {MAX_LENGTH}", MAX_LENGTH)
    problem = text_problem(text, lines=True)
    if problem is not None:
        raise QueryError(f"the filter {problem}. Remove it", 0)
    at, number = _skip(text, 0), 0
    while at < len(text):
        number += 1
        if number > MAX_TERMS:
            raise QueryError.at(at, f"more than {MAX_TERMS} terms", remedy="Give several values to one field: type:a,b")
        term, at = _term(text, at)
        yield term


def _term(text: str, start: int) -> tuple[RawTerm, int]:
    """The term that begins at `start`, and where the next one begins."""
    at, excluded = start, text[start] == "-"
    if excluded:
        at += 1
        if at == len(text) or text[at].isspace():
            raise QueryError.at(start, 'nothing follows "-"', remedy="Write -field:value to exclude what matches")
    named = _FIELD.match(text, at)
    if named is None:
        word, at = _read(text, at, _WORD)
        return RawTerm(None, excluded, (word,), start), _end(text, at)
    words, at = [], named.end()
    while True:
        if at == len(text) or text[at].isspace() or text[at] == ",":
            raise QueryError.at(
                at, f"no value for {named[1]}", remedy=f'Write {named[1]}:value, or "" for an empty one'
            )
        word, at = _read(text, at, _VALUE)
        words.append(word)
        if at == len(text) or text[at] != ",":
            return RawTerm(named[1], excluded, tuple(words), start), _end(text, at)
        at += 1


def _read(text: str, at: int, bare: re.Pattern[str]) -> tuple[Word, int]:
    if text[at] != '"':
        match = bare.match(text, at)
        if match is None:
            raise AssertionError("the caller has seen a character of a word")
        return Word(match[0], False, at), match.end()
    match = _QUOTED.match(text, at)
    if match is None:
        raise QueryError.at(at, "quotes without an end", remedy='Add " at the end of the text')
    return Word(_ESCAPE.sub(r"\1", match[1]), True, at), match.end()


def _end(text: str, at: int) -> int:
    """Where the next term begins, if a term ends at `at`."""
    if at < len(text) and not text[at].isspace():
        what = "quotes inside a word" if text[at] == '"' else "text directly after the closing quotes"
        raise QueryError.at(at, what, remedy='Put a space between terms; write \\" for quotes inside a text in quotes')
    return _skip(text, at)


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return at if blanks is None else blanks.end()
