"""`replays`: send dead letters or events again, or read quarantined records again, as jobs of the dispatch process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from bridge.cli.api_client import Api, CallFailed, api, path_of
from bridge.cli.exit_codes import FAILED, UNAVAILABLE, of_failures
from bridge.cli.options import exit_nothing_matched, format_option, limit_option, yes_option
from bridge.cli.output import print_list, print_object, say
from bridge.cli.watching import watch_option

__all__ = ["dry_run_option", "follow", "make", "rate_option", "replays", "wait_option"]

_COLUMNS = ("id", "state", "what", "subscriptions", "progress", "replayed", "waiting", "failed", "created", "by")
_KINDS = {"dead-letters": "dead_letters", "events": "events", "quarantine": "quarantine"}
_POLL_SECONDS = 0.3
#: A job that no process advances for this long is no longer followed.
_SILENT_SECONDS = 30.0
_ENDED = ("done", "aborted", "failed", "stopped")

wait_option = click.option("--no-wait", is_flag=True, help="Do not wait for it to end.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what it would do.")
rate_option = click.option(
    "--rate",
    type=click.FloatRange(0.01),
    help="Maximum number a second. Default: 25 while new events arrive, otherwise no limit.",
)


@click.group()
def replays() -> None:
    """Send dead letters or events again, as jobs; list, show, stop, resume or abort them."""


@replays.command()
@click.argument("what", type=click.Choice(list(_KINDS)))
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--subscription", "subscriptions", multiple=True, help="Replay to it; repeatable. Default: all.")
@click.option("--filter", "filter_", metavar="FILTER", help="What to replay, such as `source:eu-* passed:false`.")
@click.option("--since", metavar="TIME", help="Start: 2h (ago), 2026-11-01 or 2026-11-01T08:30:00Z; UTC.")
@click.option("--until", metavar="TIME", help="End: 2h (ago), 2026-11-01 or 2026-11-01T08:30:00Z; UTC.")
@click.option("--from-archive", metavar="SUBSCRIPTION", help="Events that have left the journal, from its SQL tables.")
@click.option("--group", metavar="SUBSCRIPTION/GROUP", help="The dead letters of a failure group.")
@rate_option
@wait_option
@dry_run_option
@yes_option
def new(
    what: str,
    ids: Sequence[str],
    subscriptions: Sequence[str],
    filter_: str | None,
    since: str | None,
    until: str | None,
    from_archive: str | None,
    group: str | None,
    rate: float | None,
    no_wait: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Replay dead letters, events (including delivered ones) or quarantined records.

    The events keep their ids. Without IDs the command shows what it would do, until --yes is given.
    """
    wanted = {
        "ids": list(ids),
        "subscriptions": list(subscriptions),
        "filter": filter_,
        "since": since,
        "until": until,
        "from_archive": from_archive,
        "group": group,
    }
    body = {"what": _KINDS[what], "rate": rate, **{name: value for name, value in wanted.items() if value}}
    make(api(), body, yes=yes or bool(ids), wait=not no_wait, dry_run=dry_run)


@replays.command("list")
@limit_option
@format_option
@watch_option
def list_(limit: int, output: str) -> None:
    """List replay jobs, newest first."""
    rows = ({**row, "progress": f"{row['progress']:.0%}"} for row in api().rows("replays", limit=limit))
    print_list(rows, _COLUMNS, output, empty="no replays", limit=limit)


@replays.command()
@click.argument("ident", metavar="ID")
@format_option
def show(ident: str, output: str) -> None:
    """Show one replay job with its progress."""
    print_object(api().call("GET", path_of("replays", ident)), output)


@replays.command()
@click.argument("ident", metavar="ID")
def stop(ident: str) -> None:
    """Stop a replay job after the current batch; `resume` continues it."""
    api().call("POST", path_of("replays", ident, "stop"))
    say(f"{ident} is stopped. Continue it with attempt-bridge replays resume {ident}")


@replays.command()
@click.argument("ident", metavar="ID")
@wait_option
def resume(ident: str, no_wait: bool) -> None:
    """Continue a replay job that was stopped or has failed."""
    calls = api()
    row = calls.call("POST", path_of("replays", ident, "resume"))
    say(f"{ident} continues")
    if not no_wait:
        follow(calls, row)


@replays.command()
@click.argument("ident", metavar="ID")
def abort(ident: str) -> None:
    """End a replay job permanently; what it has sent stays sent."""
    api().call("POST", path_of("replays", ident, "abort"))
    say(f"{ident} is aborted")


def make(calls: Api, body: Mapping[str, Any], *, yes: bool, wait: bool, dry_run: bool) -> None:
    """Preview a job; with `yes` and no `dry_run` make it; with `wait` follow it. May end the command."""
    preview = calls.call("POST", "replays", body={**body, "preview": True})["preview"]
    for ident in preview["unknown_ids"]:
        say(f"{ident}: unknown. It may be replayed already")
    if preview["complete"] and not preview["total"]:
        exit_nothing_matched("nothing to replay: no item matches")
    if dry_run or not yes:
        _show_preview(preview)
        say("Nothing was done; leave out --dry-run to do it." if yes else "Nothing was done; add --yes to do it.")
        return
    row = calls.call("POST", "replays", body=body)["replay"]
    say(f"{row['id']} replays {_about(preview)}")
    if wait:
        follow(calls, row)


def follow(calls: Api, row: Mapping[str, Any], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show the progress of a job until it ends; ends the command with the exit code. Ctrl-C leaves the job running."""
    ident = row["id"]
    try:
        row = _watch(calls, row, sleep)
    except KeyboardInterrupt:
        say(f"{ident} continues. Stop it with attempt-bridge replays stop {ident}")
        raise
    failed = row["failed"]
    details = "".join(f", {row[name]} {name}" for name in ("waiting", "gone") if row[name])
    click.echo(f"{row['replayed']} replayed, {failed} failed{details}")
    if row["state"] == "failed":
        raise CallFailed(f"{ident} failed: {row['error']}", FAILED)
    if row["state"] != "done":
        say(f"{ident} is {row['state']}")
    click.get_current_context().exit(of_failures(failed, row["replayed"] + row["waiting"] + row["gone"] + failed))


def _watch(calls: Api, row: Mapping[str, Any], sleep: Callable[[float], None]) -> Mapping[str, Any]:
    ident, waits, silent = row["id"], "", 0.0
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TaskProgressColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(ident, total=1.0)
        while row["state"] not in _ENDED:
            sleep(_POLL_SECONDS)
            before, row = row, calls.call("GET", path_of("replays", ident))
            silent = silent + _POLL_SECONDS if row == before else 0.0
            bar.update(task, completed=row["progress"], description=f"{row['replayed']:,} replayed")
            if row["waits"] and row["waits"] != waits:
                say(f"{ident}: {row['waits']}")
            waits = row["waits"]
            if silent > _SILENT_SECONDS:
                raise CallFailed(
                    f"{ident} waits: no dispatch process runs it. Start attempt-bridge dispatch",
                    UNAVAILABLE,
                )
        bar.update(task, completed=row["progress"])
    return row


def _show_preview(preview: Mapping[str, Any]) -> None:
    for row in preview["by_subscription"]:
        click.echo(f"{row['count']:,} of {row['subscription']} would be replayed")
    if not preview["complete"]:
        click.echo("Only the oldest ones were counted; there are more.")
    print_list(preview["examples"], ("id", "subscription", "type", "source", "attempt"), "table", empty="no examples")


def _about(preview: Mapping[str, Any]) -> str:
    number = f"{preview['total']:,}"
    return number if preview["complete"] else f"{number} or more"
