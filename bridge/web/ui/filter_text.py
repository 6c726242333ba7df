"""Adds terms to the text of a filter and removes them: what a click on a facet does. Pure."""

from __future__ import annotations

import re
from collections.abc import Container

__all__ = ["has_term", "quoted", "searchable", "terms_of", "toggled"]

#: A term: what is between blanks, with texts in quotes kept whole.
_TERM = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
_BARE = re.compile(r'[^\s",*?]+')


def terms_of(text: str) -> list[str]:
    """The terms of a filter, as they are written."""
    return _TERM.findall(text)


def has_term(text: str, term: str) -> bool:
    """Whether a filter has exactly this term."""
    return term in terms_of(text)


def toggled(text: str, term: str) -> str:
    """The filter without the term if it has it; else with it, in place of another value of the same field."""
    terms = terms_of(text)
    if term in terms:
        return " ".join(each for each in terms if each != term)
    name = f"{term.partition(':')[0]}:"
    return " ".join([*(each for each in terms if not each.startswith(name)), term])


def searchable(text: str, names: Container[str]) -> str:
    """The filter with quotes around terms that name no field, such as an id with a colon: they are searched for.

    `names`: the fields. A text that needs no quotes stays as it is.
    """
    terms = terms_of(text)
    quoted = [_as_text(term) if _names_no_field(term, names) else term for term in terms]
    return text if quoted == terms else " ".join(quoted)


def _names_no_field(term: str, names: Container[str]) -> bool:
    name, colon, _ = term.partition(":")
    return bool(colon) and '"' not in name and name.removeprefix("-") not in names


def _as_text(term: str) -> str:
    escaped = term.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def quoted(value: str) -> str:
    """A value as a filter has it, in quotes where it needs them."""
    if _BARE.fullmatch(value) and value != "none":
        return value
    return _as_text(value)
