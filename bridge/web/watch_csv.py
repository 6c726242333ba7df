"""The CSV of expected attempts, read strictly: a misplaced cell would register a different attempt. Pure."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.errors import clip
from bridge.text import text_problem

__all__ = ["Line", "NotCsv", "document", "read_lines"]

#: Columns that are not members of the reference.
_OWN_COLUMNS = ("source", "due", "deadline", "label")


class NotCsv(ValueError):
    """A line is not well-formed; its message says how, with the remedy."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        #: Its number; the header is in line 1.
        self.line = line


@dataclass(frozen=True, slots=True)
class Line:
    """One line below the header that has a cell."""

    #: Its number; the header is in line 1.
    number: int
    #: Heading -> cell; empty cells are absent.
    cells: Mapping[str, str]


def document(cells: Mapping[str, str], source: str | None) -> dict[str, Any]:
    """The document of `NewWatch` for one line; `source` is for lines that name none."""
    reference = {name: cell for name, cell in cells.items() if name not in _OWN_COLUMNS}
    own = {name: cells[name] for name in _OWN_COLUMNS if name in cells}
    return {**({} if source is None else {"source": source}), **own, "reference": reference}


def read_lines(text: str) -> list[Line]:
    """The lines of a file. Raises `NotCsv` for the first that is not well-formed.

    Cells are stripped. Columns without a heading and lines without a cell are left out if they are empty, as
    spreadsheets append them.
    """
    rows = list(_rows(text.removeprefix("\ufeff")))
    if not rows:
        return []
    headings = _headings(*rows[0])
    return [Line(number, cells) for number, row in rows[1:] if (cells := _cells(number, headings, row))]


def _rows(text: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Each row that has a cell, with the number of its line.

    A row ends with its line: a cell that goes on in the next line has lost its closing quote, and would swallow lines.
    """
    # Lines as people count them: a carriage return alone ends one too.
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if not line:
            continue
        try:
            (row,) = csv.reader([line], strict=True)
        except csv.Error as error:
            problem = "a quoted cell does not end in its line" if "unexpected end" in str(error) else str(error)
            raise NotCsv(number, f"{problem}. Close the quote, or double it inside a cell") from error
        if any(cell.strip() for cell in row):
            yield number, row


def _headings(number: int, row: Sequence[str]) -> list[str]:
    headings = [cell.strip() for cell in row]
    named = [name for name in headings if name]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        raise NotCsv(number, f'two columns have the heading "{_shown(twice)}". Rename or remove one')
    if len(headings) == 1 and (mark := next((mark for mark in ";\t|" if mark in headings[0]), None)):
        raise NotCsv(number, f"the cells are separated by {mark!r}. Save the file with commas")
    return headings


def _cells(number: int, headings: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    cells = {}
    for place, text in enumerate(row):
        if not (cell := text.strip()):
            continue
        if place >= len(headings):
            raise NotCsv(number, f"more cells than the header has: {len(row)} instead of {len(headings)}")
        if not headings[place]:
            raise NotCsv(number, f"cell {place + 1} is in a column without a heading")
        if problem := text_problem(cell):
            raise NotCsv(number, f"{_shown(headings[place])}: {problem}")
        cells[headings[place]] = cell
    return cells


def _shown(name: str) -> str:
    """Escaped: a heading may contain characters that must not reach a terminal."""
    return clip(ascii(name)[1:-1], 40)
