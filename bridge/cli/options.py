"""What several commands share: options, names and times in them, confirmation, exit with 3. Imports no client."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import click

from bridge import clock
from bridge.cli.exit_codes import NOTHING_MATCHED
from bridge.cli.output import say
from bridge.text import did_you_mean, parse_duration

__all__ = [
    "DEFAULT_PORT",
    "confirm_broad",
    "exit_nothing_matched",
    "format_option",
    "host_option",
    "known_name",
    "limit_option",
    "parse_moment",
    "port_option",
    "since_option",
    "yes_option",
]

DEFAULT_PORT = 8080

_Command = TypeVar("_Command", bound=Callable[..., Any])


def parse_moment(text: str) -> datetime:
    """An ISO 8601 date or time; without a zone it is UTC. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class _Since(click.ParamType[float]):
    """`2h` (ago), `2026-11-01`, `2026-11-01T08:30:00Z`; UNIX seconds."""

    name = "2h|date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            if re.fullmatch(r"[\d.]+[a-z]+", value):
                since = clock.now() - parse_duration(value)
            else:
                since = parse_moment(value).timestamp()
        except ValueError:
            self.fail(f'"{value}" is not a valid time. Write 2h, 7d, 2026-11-01 or 2026-11-01T08:30:00Z', param, ctx)
        # No stream reaches back before 1970.
        return max(0.0, since)


def since_option(command: _Command) -> _Command:
    """`--since`: UNIX seconds or None."""
    return click.option("--since", type=_Since(), help="Start: 2h (ago), 2026-11-01 or 2026-11-01T08:30:00Z; UTC.")(
        command
    )


def limit_option(command: _Command) -> _Command:
    """`--limit`."""
    return click.option(
        "--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of rows."
    )(command)


def format_option(command: _Command) -> _Command:
    """`-o`: the parameter is called `output`."""
    choice = click.Choice(["table", "json", "jsonl"])
    return click.option("-o", "--output", type=choice, default="table", show_default=True, help="Output format.")(
        command
    )


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


def known_name(name: str, known: Collection[str], noun: str) -> str:
    """The name if it is one of `known`. Raises `click.UsageError` with a suggestion."""
    if name not in known:
        raise click.UsageError(f'unknown {noun}: "{name}". {did_you_mean(name, known)}')
    return name
