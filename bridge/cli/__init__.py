"""`attempt-bridge`: the table of commands, the global options, and errors as one line and an exit code.

Each command is in the module of its name, which is imported only when the command is used: `--help` and completion of
command names need only the table.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand
from click.shell_completion import CompletionItem

from bridge import __version__
from bridge.cli import spelling
from bridge.cli.exit_codes import CONFIGURATION, DONE, FAILED, INTERRUPTED, UNAVAILABLE, USAGE
from bridge.cli.web_address import web_address
from bridge.errors import BridgeError, ConfigError, StateUnavailable
from bridge.text import text_problem

__all__ = ["COMMANDS", "cli", "main", "run"]

#: Command -> its line in `--help`, in that order.
COMMANDS = {
    "up": "Run the whole bridge in this terminal until Ctrl-C.",
    "demo": "Run a bridge with simulated vendors and subscribers until Ctrl-C.",
    "web": "Receive webhooks; serve the API and health checks.",
    "worker": "Poll vendors and recheck open attempts.",
    "beat": "Schedule the work of the workers.",
    "dispatch": "Deliver events to subscriptions.",
    "sources": "List, show, test, poll, pause or resume sources.",
    "requests": "List, show or reprocess received webhooks.",
    "events": "List, show or follow published events.",
    "listen": "Post events to a receiver under development as they are published.",
    "stats": "Show what happened in a period, in numbers.",
    "watches": "List, add or cancel watches; import expected attempts.",
    "backfill": "Read a past period of a source again and publish what is missing.",
    "reconcile": "Compare a vendor's list with what was published.",
    "subscriptions": "List, show, test, pause, resume or forget subscriptions.",
    "deliveries": "List, show, retry or cancel deliveries.",
    "failure-groups": "List, show, acknowledge, reopen, replay or discard groups of failures.",
    "replays": "Send dead letters or events again, as jobs; list, show, stop, resume or abort them.",
    "dead-letters": "List, show, replay or discard failed deliveries and unreadable records.",
    "erase": "Remove everything about one person.",
    "trigger": "Send a vendor's sample webhook to a running bridge.",
    "audit": "List changes that operators made.",
    "tokens": "Create tokens for the API and the metrics.",
    "config": "Write, check, show or reload the configuration.",
    "vendors": "List vendors; check the files of one or write those of a new one.",
    "capacity": "Calculate memory, disk and cores for a number of attempts a day.",
    "doctor": "Check the state server, broker, processes and subscriptions.",
    "state": "Show and upgrade the layout of what is stored.",
    "partitions": "Show the partitions, or change their number while everything runs.",
    "sql": "Show the tables of sql subscriptions.",
    "schema": "List, show or export the event schemas.",
    "completion": "Print a shell completion script.",
    "version": "Print the version.",
}
#: At most this many times a command line is parsed again, each time with a global option moved to its front.
_MOVES = 5
#: Frames listed in the message about an unexpected error.
_FRAMES = 4


class _Commands(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # Must happen before the command's import brings in Celery, gunicorn and others.
        import_module("bridge.settings").ignore_library_settings()
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"bridge.cli.{name}"), name)
        if not gc.isenabled():  # by `main`
            gc.freeze()
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            # click suggests only imported commands, and none has been imported yet.
            meant = spelling.COMMANDS.get(error.command_name)
            if meant is not None:
                raise click.UsageError(
                    f"No such command '{error.command_name}'. Use attempt-bridge {meant}", ctx
                ) from error
            raise NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing matched, 4 partly failed, 69 state server or "
    "broker unreachable, 78 configuration error, 130 interrupted.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Configuration file; default: ATTEMPT_BRIDGE_CONFIG or bridge.yaml.",
)
@click.option(
    "--url",
    metavar="URL",
    callback=web_address,
    help="Bridge to call, such as https://bridge.example.org; needs a token.",
)
@click.option(
    "--token",
    metavar="TOKEN",
    help="Token for --url; default: ATTEMPT_BRIDGE_TOKEN. - reads it from standard input. Other users of the machine "
    "can see a token given here.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print which configuration, state server and broker are used.")
@click.option("--debug", is_flag=True, help="Print tracebacks with the texts of errors, which may quote personal data.")
@click.option("--no-color", is_flag=True, help="No colours; same as setting NO_COLOR.")
@click.version_option(__version__, "-V", "--version", prog_name="attempt-bridge", help="Print the version.")
@click.pass_context
def cli(
    ctx: click.Context,
    config: Path | None,
    url: str | None,
    token: str | None,
    verbose: bool,
    debug: bool,
    no_color: bool,
) -> None:
    """Receive and poll assessment vendors; publish each completed attempt once."""
    if no_color:
        ctx.color = False


def main() -> None:
    """The console script."""
    # Modules stay until the process ends: the collector need not scan them, neither while they are imported nor later.
    gc.disable()
    sys.exit(run(sys.argv[1:], logging=True))


def run(arguments: Sequence[str], *, logging: bool = False) -> int:
    """Run one command line and return its exit code. The only place where errors become messages.

    `logging`: short commands log unexpected errors on stderr, as the long-running processes do. A closed stdout
    (`| head`) ends a command silently: click handles that.
    """
    for position, argument in enumerate(arguments, start=1):
        # Bytes that are not UTF-8 arrive as lone surrogates, which no key and no event can hold.
        if problem := text_problem(argument):
            click.echo(f"Error: argument {position} {problem}. Remedy: type it again in UTF-8", err=True)
            return USAGE
    try:
        code = _parse_and_run(arguments, logging=logging)
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
    return code if isinstance(code, int) else DONE


def _parse_and_run(arguments: Sequence[str], *, logging: bool) -> object:
    """The command's return value. Global options may follow the command: an option is refused before anything runs."""
    for _ in range(_MOVES):
        try:
            return cli.main(list(arguments), prog_name="attempt-bridge", standalone_mode=False, obj=logging)
        except click.NoSuchOption as error:
            moved = spelling.moved_to_front(arguments, error.option_name)
            if moved is None:
                raise
            arguments = moved
    return cli.main(list(arguments), prog_name="attempt-bridge", standalone_mode=False, obj=logging)


def _one_line(error: click.ClickException) -> str:
    """The error as one line, without click's usage page."""
    message = _unknown_word(error) or " ".join(error.format_message().split())
    # Set if click refused the command line, or the API refused a call for its values.
    context: click.Context | None = getattr(error, "ctx", None)
    if error.exit_code != USAGE or context is None:
        return f"Error: {message}"
    stop = "" if message.endswith(("?", ".")) else "."
    return f"Error: {message}{stop} See {context.command_path} --help"


def _unknown_word(error: click.ClickException) -> str | None:
    """The message about an unknown option or subcommand with what to write instead; None for any other error."""
    if isinstance(error, click.NoSuchOption):
        close = " or ".join(f"'{name}'" for name in error.possibilities or ())
        instead = spelling.OPTIONS.get(error.option_name) or (f"Did you mean {close}?" if close else "")
        return f"No such option '{error.option_name}'. {instead}".strip()
    if isinstance(error, NoSuchCommand) and error.ctx is not None and isinstance(error.ctx.command, click.Group):
        known = error.ctx.command.commands
        for name in spelling.SUBCOMMANDS.get(error.command_name, ()):
            if name in known:
                return f"No such command '{error.command_name}'. Use {error.ctx.command_path} {name}"
    return None


def _report(error: Exception, *, debug: bool) -> int:
    """Print an error that ended a command, and return the exit code."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, ConfigError):
        for problem in error.problems:
            click.echo(problem, err=True)
        return CONFIGURATION
    if isinstance(error, BridgeError):
        click.echo(f"Error: {error}", err=True)
        return UNAVAILABLE if isinstance(error, StateUnavailable) else FAILED
    # Not the error's text: it may quote a person or a secret, and what a process prints is collected with its logs.
    frames = reversed(traceback.extract_tb(error.__traceback__)[-_FRAMES:])
    place = ", called at ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    click.echo(
        f"Error: unexpected {type(error).__name__} at {place}. Remedy: report this line as an issue, with version "
        f"{__version__}",
        err=True,
    )
    return FAILED
