"""What several commands share: options, names and times in them, confirmation, exit with 3. Imports no client."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol, TypeVar

import click

from bridge import clock
from bridge.cli.exit_codes import NOTHING_MATCHED
from bridge.cli.output import say
from bridge.text import did_you_mean, parse_duration

__all__ = [
    "DEFAULT_PORT",
    "MomentAhead",
    "Share",
    "confirm_broad",
    "exit_nothing_matched",
    "filter_option",
    "format_option",
    "host_option",
    "known_name",
    "known_vendor",
    "limit_option",
    "parse_moment",
    "port_option",
    "since_option",
    "unique_match",
    "until_option",
    "yes_option",
]

DEFAULT_PORT = 8080

_DURATION = re.compile(r"[\d.]+[a-zA-Z]+")
#: Shorter beginnings of an id are not looked up.
_SHORTEST_PREFIX = 4


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


_Command = TypeVar("_Command", bound=Callable[..., Any])
_Item = TypeVar("_Item", bound=_Identified)


def parse_moment(text: str) -> datetime:
    """An ISO 8601 date or time; without a zone it is UTC. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class MomentAhead(click.ParamType[str]):
    """`2h` (from now) as ISO 8601; any other text unchanged, because the schema of the registration checks it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _DURATION.fullmatch(value):
            return str(value)
        try:
            return clock.to_datetime(clock.now() + parse_duration(value.lower())).isoformat()
        except (ValueError, OverflowError):
            self.fail(f'"{value}" is not a valid time. Write 2h, 7d, 2026-12-01 or 2026-12-01T12:00:00Z', param, ctx)


class Share(click.ParamType[float]):
    """`10%` or `0.1`: a share from `least` to 1. `problem`: the message about any other value."""

    name = "share"

    def __init__(self, least: float = 0.0, problem: str = "is not a valid share. Write it as 10% or 0.1") -> None:
        self._least, self._problem = least, problem

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not self._least <= share <= 1:
            self.fail(f'"{value}" {self._problem}', param, ctx)
        return share


class _Since(click.ParamType[float]):
    """`2h` (ago), `2026-11-01`, `2026-11-01T08:30:00Z`; UNIX seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            if _DURATION.fullmatch(value):
                since = clock.now() - parse_duration(value.lower())
            else:
                since = parse_moment(value).timestamp()
        except ValueError:
            self.fail(f'"{value}" is not a valid time. Write 2h, 7d, 2026-11-01 or 2026-11-01T08:30:00Z', param, ctx)
        # No stream reaches back before 1970.
        return max(0.0, since)


def since_option(command: _Command) -> _Command:
    """`--since`: UNIX seconds or None."""
    return _moment_option("--since", "Start")(command)


def until_option(command: _Command) -> _Command:
    """`--until`: UNIX seconds or None."""
    return _moment_option("--until", "End")(command)


def _moment_option(name: str, noun: str) -> Callable[[_Command], _Command]:
    text = f"{noun}: 2h (ago), 2026-11-01 or 2026-11-01T08:30:00Z; UTC."
    return click.option(name, type=_Since(), metavar="TIME", help=text)


def filter_option(command: _Command) -> _Command:
    """`--filter`: the parameter is called `filter_`."""
    text = "Filter, such as 'type:attempt.revised source:eu-* -passed:true'; docs/operations.md has the language."
    return click.option("--filter", "filter_", metavar="FILTER", help=text)(command)


def limit_option(command: _Command) -> _Command:
    """`--limit`."""
    return click.option(
        "-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of rows."
    )(command)


def format_option(command: _Command) -> _Command:
    """`-o` and its short form `--json`: the parameter is called `output`."""
    choice = click.Choice(["table", "json", "jsonl", "yaml"])
    command = click.option(
        "--json", "as_json", is_flag=True, expose_value=False, callback=_as_json, help="Same as -o json."
    )(command)
    return click.option(
        "-o", "--output", type=choice, default="table", show_default=True, callback=_output, help="Output format."
    )(command)


def _as_json(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    ctx.meta["bridge.json"] = given


def _output(ctx: click.Context, param: click.Parameter, given: str) -> str:
    return "json" if ctx.meta.get("bridge.json") else given


def yes_option(command: _Command) -> _Command:
    """`--yes` of broad actions."""
    return click.option("--yes", is_flag=True, help="Do it. Without --yes the command only shows what it would do.")(
        command
    )


def host_option(command: _Command) -> _Command:
    """`--host` of whatever starts web."""
    return click.option("--host", default="127.0.0.1", show_default=True, help="Address that web listens on.")(command)


def port_option(command: _Command) -> _Command:
    """`--port` of whatever starts web."""
    port = click.IntRange(0, 65535)
    return click.option("--port", type=port, default=DEFAULT_PORT, show_default=True, help="Port; 0: any free port.")(
        command
    )


def confirm_broad(yes: bool, preview: str) -> None:
    """End the command with a preview unless `--yes` was given."""
    if not yes:
        say(f"{preview}. Nothing was done; add --yes to do it.")
        click.get_current_context().exit()


def exit_nothing_matched(message: str) -> NoReturn:
    """End the command with a message on stderr and exit code 3."""
    say(message)
    click.get_current_context().exit(NOTHING_MATCHED)


def unique_match(ident: str, known: Iterable[_Item], noun: str) -> _Item | None:
    """The item whose id is `ident`, or the only one whose id begins with it; None if there is none.

    `known`: items with an `id`, read until the id itself is found. Raises `click.UsageError` if several ids begin with
    `ident`.
    """
    matches: dict[str, _Item] = {}
    for item in known:
        if item.id == ident:
            return item
        if len(ident) >= _SHORTEST_PREFIX and item.id.startswith(ident):
            matches.setdefault(item.id, item)
    if len(matches) > 1:
        raise click.UsageError(f'{len(matches)} {noun}s have an id that begins with "{ident}". Give more of it')
    return next(iter(matches.values()), None)


def known_name(name: str, known: Collection[str], noun: str) -> str:
    """The name if it is one of `known`. Raises `click.UsageError` with a suggestion."""
    if name not in known:
        raise click.UsageError(f'unknown {noun}: "{name}". {did_you_mean(name, known)}')
    return name


def known_vendor(name: str, known: Collection[str], broken: Mapping[str, str]) -> str:
    """The same for a vendor. `broken`: vendors that cannot be loaded -> why, which becomes the error."""
    if name not in known and name in broken:
        raise click.UsageError(broken[name])
    return known_name(name, known, "vendor")
