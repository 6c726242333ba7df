"""`watches`: attempts that are rechecked, and attempts that you expect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any

import click

from bridge.cli import watch_file
from bridge.cli.api_client import Api, ApiProblem, CallFailed, api, path_of
from bridge.cli.options import (
    MomentAhead,
    confirm_broad,
    exit_nothing_matched,
    format_option,
    limit_option,
    yes_option,
)
from bridge.cli.output import print_list, print_object, say
from bridge.cli.watching import watch_option
from bridge.errors import clip

__all__ = ["watches"]

_COLUMNS = ("source", "key", "kind", "state", "label", "next_look", "deadline", "looks", "id")
#: Problems printed; a file may have thousands.
_PROBLEMS_SHOWN = 20
#: Watches, or ids, that one call may hold, and how long the call may be: the API takes 256 kB.
_BATCH, _BATCH_BYTES = 500, 200_000
_STATES = ("open", "overdue", "expanded")
_KINDS = ("attempt", "expectation", "pointer", "ungraded", "reread")

#: Where a document is from, for messages; the document.
_Located = tuple[str, dict[str, Any]]


@click.group()
def watches() -> None:
    """List, add or cancel watches; import expected attempts."""


@watches.command()
@click.option("--source", required=True, help="Source of the attempt.")
@click.option(
    "--ref",
    "reference",
    multiple=True,
    required=True,
    metavar="NAME=VALUE",
    help="Vendor reference of the attempt; repeatable.",
)
@click.option(
    "--due",
    type=MomentAhead(),
    metavar="TIME",
    help="First recheck: 2h (from now), 2026-12-01 or 2026-12-01T12:00:00Z; UTC; default: now.",
)
@click.option(
    "--deadline",
    type=MomentAhead(),
    metavar="TIME",
    help="Time from which it is overdue, in the form of --due; default: a week after that.",
)
@click.option("--label", help="Your own text, included in the event.")
@format_option
def add(
    source: str, reference: tuple[str, ...], due: str | None, deadline: str | None, label: str | None, output: str
) -> None:
    """Expect one attempt. `docs/vendors.md` lists each vendor's reference."""
    parts = [member.partition("=") for member in reference]
    if not all(name and sign for name, sign, _ in parts):
        raise click.UsageError("--ref must be NAME=VALUE")
    members = {name: value for name, _, value in parts}
    given = {"source": source, "due": due, "deadline": deadline, "label": label, "reference": members}
    try:
        row = api().call("POST", "watches", body=given)
    except ApiProblem as problem:
        if problem.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        _refuse({"this watch": [_member(*message) for message in _messages(problem)]}, total=1)
    print_object(row, output)


@watches.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--source", required=True, help="Source of lines without a `source` column.")
def import_(file: Path, source: str) -> None:
    """Expect the attempts of a CSV file: `due`, `deadline`, `label`, and a column for each member of the reference."""
    lines = watch_file.read_lines(file)
    if not lines:
        exit_nothing_matched(f"{file} has no lines below the header")
    bridge = api()
    batches = _batches([(f"{file}:{line.number}", watch_file.document(line.cells, source)) for line in lines])
    if len(batches) > 1:
        # All or none: if one call cannot hold them, all are checked before the first one is registered.
        _register(bridge, batches, len(lines), dry_run=True)
    idents = _register(bridge, batches, len(lines), dry_run=False)
    repeated = len(idents) - len(set(idents))
    if repeated:
        say(f"{repeated} line(s) repeat an attempt; the last line of each attempt counts")
    say(f"{len(idents) - repeated} attempts are expected; see attempt-bridge watches list --source {source}")


@watches.command("list")
@click.option("--source", help="Filter by source.")
@click.option("--state", type=click.Choice(_STATES), help="Filter by state.")
@click.option("--kind", type=click.Choice(_KINDS), help="Filter by kind.")
@limit_option
@format_option
@watch_option
def list_(source: str | None, state: str | None, kind: str | None, limit: int, output: str) -> None:
    """List watches: overdue ones first, then by next check."""
    rows = api().rows("watches", {"source": source, "state": state, "kind": kind}, limit=limit)
    empty = "no watches; add one with attempt-bridge watches add"
    print_list(rows, _COLUMNS, output, empty=empty, limit=limit, filtered=bool(source or state or kind))


@watches.command()
@click.argument("ident", metavar="ID")
@format_option
def show(ident: str, output: str) -> None:
    """Show one watch."""
    try:
        row = api().call("GET", path_of("watches", ident))
    except ApiProblem as problem:
        if problem.status != HTTPStatus.NOT_FOUND:
            raise
        exit_nothing_matched(_unknown(ident))
    print_object(row, output)


@watches.command()
@click.argument("idents", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All expected attempts of --source.")
@click.option("--source", help="Source for --all.")
@yes_option
def cancel(idents: tuple[str, ...], every: bool, source: str | None, yes: bool) -> None:
    """Stop watching. No event is published for this; results that arrive later are published as usual."""
    if every:
        if source is None:
            raise click.UsageError("--all needs --source")
        bridge = api()
        if not yes:
            count = bridge.call("POST", "watches/cancel", body={"source": source, "dry_run": True})["cancelled"]
            confirm_broad(yes, f"{count} expected attempts of {source} would be cancelled")
        done = bridge.call("POST", "watches/cancel", body={"source": source})
    elif not idents:
        raise click.UsageError("missing: the ID of a watch, or --all --source NAME")
    else:
        done = {"cancelled": 0, "unknown_ids": []}
        bridge = api()
        for number in range(0, len(idents), _BATCH):
            part = bridge.call("POST", "watches/cancel", body={"ids": idents[number : number + _BATCH]})
            done = {name: done[name] + part[name] for name in done}
    say(f"{done['cancelled']} cancelled")
    if done["unknown_ids"]:
        exit_nothing_matched("\n".join(_unknown(ident) for ident in done["unknown_ids"]))


def _batches(documents: Sequence[_Located]) -> list[list[_Located]]:
    """The documents in batches that fit into one call."""
    batches: list[list[_Located]] = [[]]
    size = 0
    for located in documents:
        length = len(json.dumps(located[1])) + 2
        if batches[-1] and (len(batches[-1]) == _BATCH or size + length > _BATCH_BYTES):
            batches.append([])
            size = 0
        batches[-1].append(located)
        size += length
    return batches


def _register(bridge: Api, batches: Sequence[Sequence[_Located]], total: int, *, dry_run: bool) -> list[str]:
    """The ids of all documents; without a dry run they are registered."""
    idents: list[str] = []
    problems: dict[str, list[str]] = {}
    for batch in batches:
        try:
            body = {"watches": [document for _, document in batch], "dry_run": dry_run}
            idents += bridge.call("POST", "watches/import", body=body)["ids"]
        except ApiProblem as problem:
            if problem.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise _partly(problem, len(idents) + problem.members.get("registered", 0), total) from problem
            for path, message in _messages(problem):
                number, _, name = path.removeprefix("watches.").partition(".")
                where = batch[int(number)][0] if number.isdigit() else "this file"
                problems.setdefault(where, []).append(_member(name, message))
        except click.ClickException as error:
            raise _partly(error, 0 if dry_run else len(idents), total) from error
    _refuse(problems, total)
    return idents


def _messages(problem: ApiProblem) -> list[tuple[str, str]]:
    return [(error["path"], error["message"]) for error in problem.problems] or [("", problem.detail)]


def _member(path: str, message: str) -> str:
    """`reference.result` and a message as one text."""
    # Escaped: a wrong name may contain characters that must not reach a terminal.
    names = [clip(ascii(name)[1:-1], 40) for name in path.split(".", 1) if name]
    return ": ".join([*names, message])


def _refuse(problems: Mapping[str, Sequence[str]], total: int) -> None:
    """If there are problems, print the first ones and end the command. `problems`: by what they are about."""
    for where in islice(problems, _PROBLEMS_SHOWN):
        say(f"{where}: {'; '.join(problems[where])}")
    if problems:
        raise click.ClickException(f"{len(problems)} of {total} attempts have problems; nothing was registered")


def _partly(error: click.ClickException, registered: int, total: int) -> click.ClickException:
    """The error, with how many attempts are registered if some are."""
    if not registered:
        return error
    fact = error.message.partition(". At least ")[0].partition(". Remedy: ")[0]
    return CallFailed(
        f"{fact}. At least {registered} of {total} attempts are registered. Remedy: repeat this when it answers; "
        "what is already registered is only replaced",
        error.exit_code,
    )


def _unknown(ident: str) -> str:
    return f"no watch {ident}; it may be settled. See attempt-bridge watches list"
