"""`watches`: attempts that are looked at again, and those that you expect."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from marshmallow import ValidationError

from bridge.cli.common import confirm_broad, format_option, known_name, limit_option, load_services, yes_option
from bridge.cli.output import print_list, print_one, say
from bridge.errors import clip

if TYPE_CHECKING:
    from bridge.services import Services

__all__ = ["watches"]

_COLUMNS = ("source", "key", "kind", "state", "label", "next_look", "deadline", "looks", "id")
#: Columns of the CSV that are no members of the reference.
_OURS = ("source", "due", "deadline", "label")
#: Problems that are named; a file may have thousands.
_NAMED = 20


@click.group()
def watches() -> None:
    """Expect attempts, and see what is looked at again."""


@watches.command()
@click.option("--source", required=True, help="The source whose vendor knows the attempt.")
@click.option("--ref", "reference", multiple=True, required=True, metavar="NAME=VALUE", help="Names it; repeat it.")
@click.option("--due", help="When to look first, such as 2026-11-21T12:00:00Z; now if not given.")
@click.option("--deadline", help="When it is overdue; a week after --due if not given.")
@click.option("--label", help="Your own words; they come back in the event.")
@format_option
def add(
    source: str, reference: tuple[str, ...], due: str | None, deadline: str | None, label: str | None, output: str
) -> None:
    """Expect one attempt; `docs/vendors.md` says what names one at each vendor."""
    services = load_services()
    known_name(source, services.config.sources, "source")
    parts = [one.partition("=") for one in reference]
    if not all(name and sign for name, sign, _ in parts):
        raise click.UsageError("--ref is written NAME=VALUE")
    members = {name: value for name, _, value in parts}
    given = {"source": source, "due": due, "deadline": deadline, "label": label}
    made = _register(services, [({**given, "reference": members}, "this watch")])
    print_one(made[0], output)


@watches.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--source", required=True, help="The source of every line without a `source` column.")
def import_(file: Path, source: str) -> None:
    """Expect every line of a CSV file: `due`, `deadline`, `label`, and a column for each member of the reference."""
    services = load_services()
    known_name(source, services.config.sources, "source")
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines)
            documents = [
                (_document(row, source, f"{file}:{table.line_num}"), f"{file}:{table.line_num}") for row in table
            ]
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except csv.Error as error:
        raise click.ClickException(f"{file}:{table.line_num + 1}: {error}; nothing was registered") from error
    if not documents:
        say(f"{file} has no line below its heading")
        click.get_current_context().exit(3)
    made = _register(services, documents)
    twice = len(made) - len({row["id"] for row in made})
    if twice:
        say(f"{twice} line(s) name an attempt that another line names; the last one counts")
    say(f"{len(made) - twice} attempts are expected; attempt-bridge watches list --source {source} shows them")


@watches.command("list")
@click.option("--source", help="Only of this source.")
@click.option("--state", type=click.Choice(["open", "overdue", "expanded"]), help="Only in this state.")
@limit_option
@format_option
def list_(source: str | None, state: str | None, limit: int, output: str) -> None:
    """List watches, overdue ones first, then the next to be looked at."""
    from bridge import watch_registration  # noqa: PLC0415 - `--help` must be quick

    services = load_services()
    if source is not None:
        known_name(source, services.config.sources, "source")
    rows = watch_registration.rows(services, [source] if source else list(services.config.sources))
    chosen = (row for row in rows if state in (None, row["state"]))
    empty = "nothing is watched; attempt-bridge watches add expects an attempt"
    print_list(chosen, _COLUMNS, output, empty=empty, limit=limit, filtered=bool(source or state))


@watches.command()
@click.argument("ident", metavar="ID")
@format_option
def show(ident: str, output: str) -> None:
    """Show one watch."""
    from bridge import watch_registration  # noqa: PLC0415 - `--help` must be quick

    row = watch_registration.find(load_services(), ident)
    if row is None:
        _no_such(ident)
    else:
        print_one(row, output)


@watches.command()
@click.argument("idents", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All expectations of --source.")
@click.option("--source", help="For --all.")
@yes_option
def cancel(idents: tuple[str, ...], every: bool, source: str | None, yes: bool) -> None:
    """Look no longer. Nothing is announced; a later attempt is published all the same."""
    from bridge import watch_registration  # noqa: PLC0415 - `--help` must be quick

    services = load_services()
    if every:
        if source is None:
            raise click.UsageError("--all needs --source")
        known_name(source, services.config.sources, "source")
        idents = tuple(watch_registration.watch_id(source, one.key) for one in services.expectations.list(source))
        confirm_broad(yes, f"{len(idents)} expectations of {source} would be cancelled")
    elif not idents:
        raise click.UsageError("give the ID of a watch, or --all --source NAME")
    missing = [ident for ident in idents if not watch_registration.cancel(services, ident, now=services.now())]
    say(f"{len(idents) - len(missing)} cancelled")
    for ident in missing:
        _no_such(ident)


def _document(row: dict[str | None, Any], source: str, where: str) -> dict[str, Any]:
    """One line of the file. Empty cells are absent. Raises `click.ClickException` for a line with too many."""
    if None in row:
        raise click.ClickException(f"{where}: has more cells than the heading; nothing was registered")
    given = {name.strip(): value.strip() for name, value in row.items() if name and value and value.strip()}
    ours = {name: given.get(name) for name in _OURS}
    reference = {name: value for name, value in given.items() if name not in _OURS}
    return {**ours, "source": given.get("source", source), "reference": reference}


def _register(services: Services, documents: list[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    """All or none; what is wrong is named line by line."""
    from bridge import watch_registration  # noqa: PLC0415 - `--help` must be quick

    shape = watch_registration.NewWatch()
    loaded, problems = [], []
    for document, where in documents:
        try:
            loaded.append(shape.load(document))
        except ValidationError as error:
            problems.append((where, error.messages))
    if not problems:
        try:
            return watch_registration.register(services, loaded, now=services.now())
        except ValidationError as error:
            wrong: Any = error.messages
            problems = [(documents[number][1], messages) for number, messages in wrong.items()]
    for where, messages in problems[:_NAMED]:
        say(f"{where}: {_line(messages)}")
    raise click.ClickException(f"{len(problems)} of {len(documents)} cannot be expected; nothing was registered")


def _line(messages: Any) -> str:
    return "; ".join(f"{name}: {' '.join(_texts(inner))}" for name, inner in messages.items())


def _texts(messages: Any) -> list[str]:
    """Without the levels that marshmallow files the messages of a member under, but with the member's name."""
    if not isinstance(messages, dict):
        return [str(text) for text in messages]
    # What is wrong with a name quotes it: it may be what no terminal shows.
    return [
        f"{clip(ascii(name)[1:-1], 40)}: {' '.join(inner.get('value') or inner.get('key'))}"
        for name, inner in messages.items()
    ]


def _no_such(ident: str) -> None:
    say(f"{ident}: no such watch; it may have been met. attempt-bridge watches list names them")
    click.get_current_context().exit(3)
