"""What several commands share: the services of the chosen configuration, options, moments given by people."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bridge import clock
from bridge.text import parse_duration

if TYPE_CHECKING:
    from bridge.services import Services

__all__ = [
    "confirm_broad",
    "format_option",
    "known_name",
    "limit_option",
    "load_services",
    "since_option",
    "yes_option",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def load_services() -> Services:
    """The services of `--config`, or of the environment. Raises `ConfigError`."""
    from bridge import services  # noqa: PLC0415 - redis and the vendors are not needed for `--help`
    from bridge.config.loader import without_password  # noqa: PLC0415
    from bridge.monitoring import logs  # noqa: PLC0415 - redis and the vendors are not needed for `--help`

    if click.get_current_context().find_root().obj:
        # Before anything is logged: structlog's own set-up prints whole exceptions, with local values, on stdout.
        logs.configure("error")
    options = click.get_current_context().find_root().params
    loaded = services.load(config_path=options.get("config"))
    if options.get("verbose"):
        click.echo(f"configuration {loaded.config.path.resolve()}", err=True)
        click.echo(f"state         {without_password(loaded.state_url)}", err=True)
        click.echo(f"broker        {without_password(loaded.broker_url)}", err=True)
    return loaded


class _Moment(click.ParamType[float]):
    """`2h` (ago), `2026-11-01`, `2026-11-01T08:30:00Z`; without a zone it is UTC. UNIX seconds."""

    name = "2h|date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if re.fullmatch(r"[\d.]+[a-z]+", value):
            try:
                return max(0.0, clock.now() - parse_duration(value))
            except ValueError as error:
                self.fail(str(error), param, ctx)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f'"{value}" is no moment; write 2h, 7d, 2026-11-01 or 2026-11-01T08:30:00Z', param, ctx)
        # No stream reaches back before 1970.
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def since_option(command: _Command) -> _Command:
    """`--since`: UNIX seconds or None."""
    return click.option("--since", type=_Moment(), help="Only from then on: 2h (ago), 2026-11-01, UTC.")(command)


def limit_option(command: _Command) -> _Command:
    """`--limit`."""
    return click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")(
        command
    )


def format_option(command: _Command) -> _Command:
    """`-o`: the parameter is called `output`."""
    choice = click.Choice(["table", "json", "jsonl"])
    return click.option("-o", "--output", type=choice, default="table", show_default=True, help="How to print.")(
        command
    )


def yes_option(command: _Command) -> _Command:
    """`--yes` of broad actions."""
    return click.option("--yes", is_flag=True, help="Do it; without it the command only says what it would do.")(
        command
    )


def confirm_broad(yes: bool, what: str) -> None:
    """End the command with a preview unless `--yes` was given."""
    if not yes:
        click.echo(f"{what}. Nothing was done; add --yes to do it.", err=True)
        click.get_current_context().exit(0)


def known_name(name: str, known: Any, noun: str) -> str:
    """The name if it is configured. Raises `click.UsageError` with a suggestion."""
    from bridge.text import did_you_mean  # noqa: PLC0415

    if name not in known:
        raise click.UsageError(f'"{name}" is no {noun}. {did_you_mean(name, known)}')
    return name
