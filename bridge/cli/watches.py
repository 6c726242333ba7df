"""`watches`: attempts that are rechecked, and attempts that you expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from marshmallow import ValidationError

from bridge import watch_registration
from bridge.cli import watch_file
from bridge.cli.common import load_services
from bridge.cli.options import (
    MomentAhead,
    confirm_broad,
    exit_nothing_matched,
    format_option,
    known_name,
    limit_option,
    yes_option,
)
from bridge.cli.output import print_list, print_object, say
from bridge.errors import clip
from bridge.services import Services

__all__ = ["watches"]

_COLUMNS = ("source", "key", "kind", "state", "label", "next_look", "deadline", "looks", "id")
#: Problems printed; a file may have thousands.
_PROBLEMS_SHOWN = 20


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
    help="Time from which it is overdue, written as --due; default: a week after it.",
)
@click.option("--label", help="Your own text, included in the event.")
@format_option
def add(
    source: str, reference: tuple[str, ...], due: str | None, deadline: str | None, label: str | None, output: str
) -> None:
    """Expect one attempt. `docs/vendors.md` lists the reference of each vendor."""
    services = load_services()
    known_name(source, services.config.sources, "source")
    parts = [member.partition("=") for member in reference]
    if not all(name and sign for name, sign, _ in parts):
        raise click.UsageError("--ref must be NAME=VALUE")
    members = {name: value for name, _, value in parts}
    given = {"source": source, "due": due, "deadline": deadline, "label": label}
    (row,) = _register(services, [({**given, "reference": members}, "this watch")])
    print_object(row, output)


@watches.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--source", required=True, help="Source of lines without a `source` column.")
def import_(file: Path, source: str) -> None:
    """Expect the attempts of a CSV file: `due`, `deadline`, `label`, and a column for each member of the reference."""
    services = load_services()
    known_name(source, services.config.sources, "source")
    documents = [
        (watch_file.document(line.cells, source), f"{file}:{line.number}") for line in watch_file.read_lines(file)
    ]
    if not documents:
        exit_nothing_matched(f"{file} has no lines below the header")
    rows = _register(services, documents)
    repeated = len(rows) - len({row["id"] for row in rows})
    if repeated:
        say(f"{repeated} line(s) repeat an attempt; the last line of each attempt counts")
    say(f"{len(rows) - repeated} attempts are expected; see attempt-bridge watches list --source {source}")


@watches.command("list")
@click.option("--source", help="Filter by source.")
@click.option("--state", type=click.Choice(watch_registration.STATES), help="Filter by state.")
@limit_option
@format_option
def list_(source: str | None, state: str | None, limit: int, output: str) -> None:
    """List watches: overdue ones first, then by next check."""
    services = load_services()
    if source is not None:
        known_name(source, services.config.sources, "source")
    sources = [source] if source else list(services.config.sources)
    rows, _ = watch_registration.rows(services, sources, state=state, limit=limit)
    empty = "no watches; add one with attempt-bridge watches add"
    print_list(rows, _COLUMNS, output, empty=empty, limit=limit, filtered=bool(source or state))


@watches.command()
@click.argument("ident", metavar="ID")
@format_option
def show(ident: str, output: str) -> None:
    """Show one watch."""
    row = watch_registration.find(load_services(), ident)
    if row is None:
        exit_nothing_matched(_unknown(ident))
    print_object(row, output)


@watches.command()
@click.argument("idents", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All expected attempts of --source.")
@click.option("--source", help="Source for --all.")
@yes_option
def cancel(idents: tuple[str, ...], every: bool, source: str | None, yes: bool) -> None:
    """Stop watching. No event is published for this; results that arrive later are published as usual."""
    services = load_services()
    if every:
        if source is None:
            raise click.UsageError("--all needs --source")
        known_name(source, services.config.sources, "source")
        idents = tuple(
            watch_registration.watch_id(source, expectation.key) for expectation in services.expectations.list(source)
        )
        confirm_broad(yes, f"{len(idents)} expected attempts of {source} would be cancelled")
    elif not idents:
        raise click.UsageError("missing: the ID of a watch, or --all --source NAME")
    missing = watch_registration.cancel(services, idents)
    say(f"{len(idents) - len(missing)} cancelled")
    if missing:
        exit_nothing_matched("\n".join(_unknown(ident) for ident in missing))


def _register(services: Services, documents: list[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    """Register all documents or none; the problems of each are printed."""
    schema = watch_registration.NewWatch()
    loaded, problems = [], []
    for document, where in documents:
        try:
            loaded.append(schema.load(document))
        except ValidationError as error:
            problems.append((where, error.messages))
    if not problems:
        try:
            return watch_registration.register(services, loaded, now=services.now())
        except ValidationError as error:
            by_number: Any = error.messages
            problems = [(documents[number][1], messages) for number, messages in by_number.items()]
    for where, messages in problems[:_PROBLEMS_SHOWN]:
        say(f"{where}: {_problem_text(messages)}")
    raise click.ClickException(f"{len(problems)} of {len(documents)} attempts have problems; nothing was registered")


def _problem_text(messages: Any) -> str:
    return "; ".join(f"{name}: {' '.join(_texts(inner))}" for name, inner in messages.items())


def _texts(messages: Any) -> list[str]:
    """The messages of a member without marshmallow's nesting, but with the names of inner members."""
    if not isinstance(messages, dict):
        return [str(text) for text in messages]
    # Escaped: a wrong name may hold characters that a terminal must not get.
    return [
        f"{clip(ascii(name)[1:-1], 40)}: {' '.join(inner.get('value') or inner.get('key'))}"
        for name, inner in messages.items()
    ]


def _unknown(ident: str) -> str:
    return f"no watch {ident}; it may be settled. See attempt-bridge watches list"
