"""`audit`: who changed what, when, before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from bridge.cli.api_client import api
from bridge.cli.options import filter_option, format_option, limit_option, since_option, until_option
from bridge.cli.output import iso, print_list
from bridge.cli.watching import watch_option

__all__ = ["audit"]

_COLUMNS = ("time", "actor", "role", "action", "target", "change")


@click.group()
def audit() -> None:
    """List changes that operators made."""


@audit.command("list")
@click.option("--actor", help="Filter by actor: a token's name, or cli:USER.")
@click.option("--action", help="Filter by action, such as cancelWatch.")
@filter_option
@since_option
@until_option
@limit_option
@format_option
@watch_option
def list_(
    actor: str | None,
    action: str | None,
    filter_: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    output: str,
) -> None:
    """List changes made by commands, the API and the user interface, newest first."""
    query = {"actor": actor, "action": action, "filter": filter_, "since": iso(since), "until": iso(until)}
    rows = api().rows("audit", query, limit=limit)
    if output == "table":
        rows = _with_changes(rows)
    filtered = any(value is not None for value in query.values())
    print_list(rows, _COLUMNS, output, empty="no changes are recorded", limit=limit, filtered=filtered)


def _with_changes(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {**row, "change": _change(row["before"] or {}, row["after"] or {})}


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """`paused: no -> yes`, one for each member that differs."""
    names = dict.fromkeys((*before, *after))
    shown = [
        f"{name}: {_text(before[name])} -> {_text(after.get(name))}"
        if name in before
        else f"{name}: {_text(after[name])}"
        for name in names
        if name not in before or before[name] != after.get(name)
    ]
    return "; ".join(shown)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
