"""Printing for all commands: data to stdout as table, JSON or JSON lines; messages to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge import clock
from bridge.cli.exit_codes import NOTHING_MATCHED
from bridge.settings import wants_no_colours
from schemas.event import format_time

__all__ = ["as_text", "iso", "print_check", "print_list", "print_object", "say"]

#: The width if stdout is not a terminal: nothing is cut or wrapped.
_UNLIMITED_WIDTH = 10_000
#: Columns that are never folded, because people copy from them.
_WHOLE = frozenset({"id", "name", "source", "subscription", "attempt", "request_id", "event_id", "key", "attempts"})
_MARKS = {"ok": ("[+]", "green"), "warning": ("[!]", "yellow"), "failure": ("[-]", "red")}


def iso(moment: float | None) -> str | None:
    """UNIX seconds as ISO 8601 UTC with milliseconds; None stays None."""
    return None if moment is None else format_time(clock.to_datetime(moment))


def say(message: str) -> None:
    """Print a message on stderr."""
    click.echo(message, err=True)


def print_check(status: str, text: str) -> None:
    """One line of a check, marked by its `status`: ok, warning or failure."""
    mark, colour = _MARKS[status]
    click.echo(f"{click.style(mark, fg=colour)} {text}", color=False if _is_plain() else None)


def _is_plain() -> bool:
    """Whether the operator wants no colours."""
    return click.get_current_context().color is False or wants_no_colours()


def print_list(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    output: str,
    *,
    empty: str,
    limit: int | None = None,
    filtered: bool = False,
) -> None:
    """Print up to `limit` rows; a table has `columns`, JSON and YAML everything.

    Without rows: print `empty` on stderr and, if the rows were `filtered`, end the command with 3.
    """
    if output == "jsonl":
        count = 0
        for count, row in enumerate(islice(rows, limit), start=1):  # noqa: B007 - counted to the end
            click.echo(_json(row))
    else:
        shown = list(islice(rows, limit))
        count = len(shown)
        if output in ("json", "yaml"):
            click.echo(as_text(shown, output), nl=output == "json")
        elif shown:
            _print_table(shown, columns)
    if count == 0:
        say(empty)
        if filtered:
            click.get_current_context().exit(NOTHING_MATCHED)
    elif count == limit and output == "table":
        say(f"showing the first {limit} rows; see --limit")


def print_object(row: Mapping[str, Any], output: str) -> None:
    """Print one object; as a table one line per member, or several where it has members itself."""
    if output == "table":
        width = max(map(len, row), default=0)
        for name, value in row.items():
            for number, line in enumerate(_lines(value)):
                click.echo(f"{'' if number else name:<{width}}  {line}")
    else:
        click.echo(as_text(row, output), nl=output != "yaml")


def as_text(value: Any, output: str) -> str:
    """A JSON value as `json`, `jsonl` or `yaml`."""
    if output == "yaml":
        # Through JSON, which handles tuples and other mappings.
        return str(yaml.safe_dump(json.loads(_json(value)), sort_keys=False, allow_unicode=True))
    return _json(value, indent=2 if output == "json" else None)


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
    # Control characters in a vendor's text must not reach the terminal.
    return "".join(letter if letter.isprintable() else "\N{MIDDLE DOT}" for letter in text)


def _print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    cells = {column: [_cell(row.get(column)) for row in rows] for column in columns}
    least = 0
    for column, texts in cells.items():
        # A list of ids may be folded between two ids.
        longest = max((len(word) for text in texts for word in text.split(", ")), default=0) if column in _WHOLE else 0
        width = max(longest, len(column))
        table.add_column(column.upper().replace("_", " "), overflow="fold", min_width=width)
        least += width + 1
    for line in zip(*cells.values(), strict=True):
        table.add_row(*map(Text, line))
    plain = _is_plain()
    console = Console(file=sys.stdout, no_color=plain or None, highlight=False)
    # Wider than the terminal if ids need it: a line that the terminal breaks can still be copied.
    console.width = max(console.width, least) if sys.stdout.isatty() else _UNLIMITED_WIDTH
    console.print(table, crop=False)
