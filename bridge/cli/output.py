"""Printing for all commands: data to stdout as table, JSON or JSON lines; messages to stderr. Looks nothing up."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import click

from bridge import clock
from schemas.event import format_time

__all__ = ["iso", "print_list", "print_one", "say"]

#: Off a terminal nothing is cut or wrapped.
_ENDLESS_COLUMNS = 10_000


def iso(moment: float | None) -> str | None:
    """UNIX seconds as ISO 8601 UTC with milliseconds; None stays None."""
    return None if moment is None else format_time(clock.to_datetime(moment))


def say(message: str) -> None:
    """A message for people, beside the data."""
    click.echo(message, err=True)


def print_list(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    output: str,
    *,
    empty: str,
    limit: int | None = None,
    filtered: bool = False,
) -> None:
    """At most `limit` rows; the table shows `columns`, JSON everything.

    Without a row says `empty` on stderr and, if the rows were `filtered`, ends the command with 3.
    """
    if output == "jsonl":
        count = 0
        for count, row in enumerate(islice(rows, limit), start=1):  # noqa: B007 - counted to the end
            click.echo(_json(row))
    else:
        found = list(islice(rows, limit))
        count = len(found)
        if output == "json":
            click.echo(_json(found, indent=2))
        elif found:
            _table(found, columns)
    if count == 0:
        say(empty)
        if filtered:
            click.get_current_context().exit(3)
    elif count == limit and output == "table":
        say(f"the first {limit} are shown; --limit shows more")


def print_one(row: Mapping[str, Any], output: str) -> None:
    """One thing with all its members; as a table one member a line, or more where it has members itself."""
    if output == "table":
        width = max(map(len, row), default=0)
        for name, value in row.items():
            for number, line in enumerate(_lines(value)):
                click.echo(f"{'' if number else name:<{width}}  {line}")
    else:
        click.echo(_json(row, indent=2 if output == "json" else None))


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name}: {_cell(member)}" for name, member in value.items()] or ["-"]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [_cell(item) for item in value]
    return [_cell(value)]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_cell(member)}" for name, member in value.items()) or "-"
    text = (_json(value) if isinstance(value, list) else str(value)) or "-"
    # Vendors' text must not steer the terminal.
    return "".join(letter if letter.isprintable() else "\N{MIDDLE DOT}" for letter in text)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import, and only tables need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.upper().replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    plain = click.get_current_context().color is False
    width = None if sys.stdout.isatty() else _ENDLESS_COLUMNS
    Console(file=sys.stdout, width=width, no_color=plain or None, highlight=False).print(table)
