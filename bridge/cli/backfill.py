"""`backfill`: read a past period of a source again, beside live traffic; list, show, stop, resume or cancel one."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, NamedTuple, NoReturn

import click

from bridge.cli import backfill_local, backfill_remote
from bridge.cli.api_client import Api, ApiProblem, api, path_of
from bridge.cli.options import exit_nothing_matched, format_option, parse_moment, unique_match, yes_option
from bridge.cli.output import iso, print_list, print_object, say
from bridge.cli.watching import watch_option

__all__ = ["backfill"]

_ALL = sys.maxsize
_COLUMNS = ("id", "state", "first", "last", "read", "pages", "records", "new", "calls", "updated")
_REPROCESS = ("none", "failed", "all")


class _Date(click.ParamType[float]):
    """`2026-11-01` or `2026-11-01T08:30:00Z` as UNIX seconds; UTC without a zone. A date is its start or end."""

    name = "date"

    def __init__(self, *, end: bool) -> None:
        self._end = end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            moment = parse_moment(value)
            if self._end and re.fullmatch(r"\d{4}-?\d{2}-?\d{2}|\d{4}-?W\d{2}(-?\d)?", value):
                moment += timedelta(days=1)
        except (ValueError, OverflowError):
            self.fail(f'"{value}" is not a valid date. Write 2026-11-01 or 2026-11-01T08:30:00Z', param, ctx)
        return max(0.0, moment.timestamp())


@click.group(invoke_without_command=True)
@click.option("--source", help="Source to read from.")
@click.option("--from", "first", type=_Date(end=False), help="Start of the period, UTC, by when attempts finished.")
@click.option("--to", "last", type=_Date(end=True), help="End of the period; a date includes that day.")
@click.option("--stream", "streams", multiple=True, help="Read only this stream; repeatable.")
@click.option(
    "--reprocess",
    type=click.Choice(_REPROCESS),
    default="none",
    show_default=True,
    help="First process stored requests and records of the period again: the failed ones, or all.",
)
@click.option("--rate", type=click.IntRange(1), help="Maximum number of pages per minute.")
@click.option("--dry-run", is_flag=True, help="Read and count, but write nothing.")
@yes_option
@click.pass_context
def backfill(
    ctx: click.Context,
    source: str | None,
    first: float | None,
    last: float | None,
    streams: Sequence[str],
    reprocess: str,
    rate: int | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Read a past period of a source again and publish what is missing.

    Known attempts are duplicates and stay as they are, so only --reprocess needs --yes. Live traffic has priority.
    Ctrl-C stops after the current page. With --url a worker of that bridge reads.
    """
    if ctx.invoked_subcommand is not None:
        if source or first or last:
            raise click.UsageError(f"--source, --from and --to cannot be given with {ctx.invoked_subcommand}")
        return
    if source is None or first is None or last is None:
        missing = [name for name, value in (("--source", source), ("--from", first), ("--to", last)) if value is None]
        raise click.UsageError(f"missing: {', '.join(missing)}, or a command: list, show, stop, resume, cancel")
    bridge = api()
    if not bridge.is_remote:
        backfill_local.make(source, first, last, streams, reprocess=reprocess, rate=rate, dry_run=dry_run, yes=yes)
    asked = {"reprocess": reprocess, "rate": rate, "dry_run": dry_run}
    body = {"source": source, "first": iso(first), "last": iso(last), **asked}
    backfill_remote.make(bridge, {**body, "streams": list(streams)} if streams else body, yes=yes)


@backfill.command("list")
@click.option("--source", help="Filter by source.")
@format_option
@watch_option
def list_(source: str | None, output: str) -> None:
    """List backfills, newest first."""
    rows = (_shown(row) for row in api().rows("backfills", {"source": source}, limit=_ALL))
    empty = "no backfill matches" if source else "no backfills"
    print_list(rows, _COLUMNS, output, empty=empty, filtered=bool(source))


@backfill.command()
@click.argument("job_id", metavar="ID")
@format_option
def show(job_id: str, output: str) -> None:
    """Show one backfill: the progress of each stream, and the outcomes."""
    print_object(_shown(_find(api(), job_id)), output)


@backfill.command()
@click.argument("job_id", metavar="ID")
def stop(job_id: str) -> None:
    """Stop a running backfill after the current page; `resume` continues it."""
    row = _change(api(), job_id, "stop")
    done = "stops after the current page" if row["state"] == "running" else "is stopped"
    say(f"{row['id']} {done}. Continue it with attempt-bridge backfill resume {row['id']}")


@backfill.command()
@click.argument("job_id", metavar="ID")
def resume(job_id: str) -> None:
    """Continue a stopped or failed backfill in this terminal, or with --url by a worker of that bridge."""
    bridge = api()
    ident = _find(bridge, job_id)["id"]
    if not bridge.is_remote:
        backfill_local.resume(ident)
    try:
        backfill_remote.resume(bridge, ident)
    except ApiProblem as problem:
        _nothing_if_conflict(problem)


@backfill.command()
@click.argument("job_id", metavar="ID")
def cancel(job_id: str) -> None:
    """Cancel a backfill permanently; what it has published stays."""
    row = _change(api(), job_id, "cancel")
    is_cancelled = row["state"] == "cancelled"
    say(f"{row['id']} is cancelled" if is_cancelled else f"{row['id']} will be cancelled after the current page")


def _change(bridge: Api, job_id: str, action: str) -> Mapping[str, Any]:
    ident = _find(bridge, job_id)["id"]
    try:
        row: Mapping[str, Any] = bridge.call("POST", path_of("backfills", *ident.split("/", 1), action))
    except ApiProblem as problem:
        _nothing_if_conflict(problem)
    return row


def _nothing_if_conflict(problem: ApiProblem) -> NoReturn:
    """End the command with 3 if the backfill's state does not allow the action; raise any other problem."""
    if problem.status != HTTPStatus.CONFLICT:
        raise problem
    exit_nothing_matched(problem.detail)


def _find(bridge: Api, job_id: str) -> Mapping[str, Any]:
    """The backfill with this id, or the only one whose id begins with it."""
    source, _, number = job_id.partition("/")
    if number:
        try:
            row: Mapping[str, Any] = bridge.call("GET", path_of("backfills", source, number))
        except ApiProblem as problem:
            if problem.status != HTTPStatus.NOT_FOUND:
                raise
        else:
            return row
    rows = {row["id"]: row for row in bridge.rows("backfills", limit=_ALL)}
    match = unique_match(job_id, [_Row(ident) for ident in rows], "backfill")
    if match is None:
        exit_nothing_matched(f"no backfill {job_id}; see attempt-bridge backfill list")
    return rows[match.id]


class _Row(NamedTuple):
    id: str


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    progress = row["progress"]
    return {**row, "read": None if progress is None else f"{progress:.0%}"}
