"""`attempt-bridge`: the table of commands, the global options, and errors as one line and an exit code.

Each command is in a module named after its noun and imported when it is used.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand

from bridge import __version__
from bridge.errors import BridgeError, BrokerUnavailable, ConfigError, StateUnavailable
from bridge.text import text_problem

__all__ = ["COMMANDS", "cli", "main", "run"]

FAILED, USAGE, NOTHING_MATCHED, PARTLY_FAILED, UNAVAILABLE, CONFIGURATION, INTERRUPTED = 1, 2, 3, 4, 69, 78, 130

#: Command -> where it is, in the order of `--help`.
COMMANDS = {
    "up": "bridge.cli.up:up",
    "demo": "bridge.cli.demo:demo",
    "web": "bridge.cli.processes:web",
    "worker": "bridge.cli.processes:worker",
    "beat": "bridge.cli.processes:beat",
    "dispatch": "bridge.cli.processes:dispatch",
    "sources": "bridge.cli.sources:sources",
    "requests": "bridge.cli.requests:requests",
    "events": "bridge.cli.events:events",
    "watches": "bridge.cli.watches:watches",
    "backfill": "bridge.cli.backfill:backfill",
    "reconcile": "bridge.cli.reconcile:reconcile",
    "subscriptions": "bridge.cli.subscriptions:subscriptions",
    "dead-letters": "bridge.cli.dead_letters:dead_letters",
    "trigger": "bridge.cli.trigger:trigger",
    "tokens": "bridge.cli.tokens:tokens",
    "config": "bridge.cli.config:config",
    "doctor": "bridge.cli.doctor:doctor",
    "schema": "bridge.cli.schema:schema",
    "completion": "bridge.cli.completion:completion",
}


class _Commands(click.Group):
    """Imports a command when it is asked for, so that every start is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            # click knows no command to suggest: none was imported.
            raise NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing matched, 4 partly failed, 69 state or broker "
    "unreachable, 78 configuration, 130 interrupted.",
)
@click.option("--config", type=click.Path(path_type=Path), help="The configuration file; else ATTEMPT_BRIDGE_CONFIG.")
@click.option("-v", "--verbose", is_flag=True, help="Say which configuration and servers are used.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error, with its text.")
@click.option("--no-color", is_flag=True, help="No colours; NO_COLOR does the same.")
@click.version_option(__version__, prog_name="attempt-bridge")
@click.pass_context
def cli(ctx: click.Context, config: Path | None, verbose: bool, debug: bool, no_color: bool) -> None:
    """Receive and poll assessment vendors; publish each completed attempt once."""
    if no_color:
        ctx.color = False


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:], logging=True))


def run(arguments: Sequence[str], *, logging: bool = False) -> int:
    """Run one command line; its exit code. The only place where errors become messages.

    `logging`: what goes wrong inside a short command is logged on stderr as in the processes.

    A closed stdout (`| head`) ends a command without a word: click sees to that.
    """
    for place, argument in enumerate(arguments, start=1):
        # Bytes that are not UTF-8 arrive as lone surrogates, which no key and no event can hold.
        if problem := text_problem(argument):
            click.echo(f"Error: argument {place} {problem}. Remedy: write it again, in UTF-8", err=True)
            return USAGE
    try:
        code = cli.main(list(arguments), prog_name="attempt-bridge", standalone_mode=False, obj=logging)
    except NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        click.echo(_one_line(error), err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence: nothing may end as a traceback
        return _report(error, debug="--debug" in arguments)
    return code if isinstance(code, int) else 0


def _one_line(error: click.ClickException) -> str:
    """Fact, value, remedy: without click's page of usage."""
    message = " ".join(error.format_message().split())
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return f"Error: {message}"
    stop = "" if message.endswith(("?", ".")) else "."
    return f"Error: {message}{stop} See {error.ctx.command_path} --help"


def _report(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if isinstance(error, ConfigError):
        for problem in error.problems:
            click.echo(problem, err=True)
        return CONFIGURATION
    if isinstance(error, BridgeError):
        click.echo(f"Error: {error}", err=True)
        return UNAVAILABLE if isinstance(error, StateUnavailable | BrokerUnavailable) else FAILED
    # Its text may quote a person or a secret, and what a process prints is collected with its logs.
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    click.echo(
        f"Error: {type(error).__name__} at {place}. Remedy: run it again as attempt-bridge --debug ...", err=True
    )
    return FAILED
