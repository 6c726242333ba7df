"""`failure-groups`: failing deliveries and dead letters by what went wrong."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import click

from bridge.cli.api_client import Api, ApiProblem, api, path_of
from bridge.cli.options import confirm_broad, exit_nothing_matched, format_option, limit_option, yes_option
from bridge.cli.output import print_list, print_object, say
from bridge.cli.replays import dry_run_option, make, rate_option, wait_option
from bridge.cli.watching import watch_option

__all__ = ["failure_groups"]

_COLUMNS = ("id", "state", "count", "failing", "dead", "reason", "status", "message", "first", "last")
_STATES = ("open", "acknowledged", "fixed")
_ID_HELP = "ID: SUBSCRIPTION/FINGERPRINT, as `failure-groups list` prints it."


@click.group("failure-groups")
def failure_groups() -> None:
    """List, show, acknowledge, reopen, replay or discard groups of failures."""


@failure_groups.command("list")
@click.option("--subscription", help="Filter by subscription.")
@click.option("--state", type=click.Choice(_STATES), help="Filter by state.")
@limit_option
@format_option
@watch_option
def list_(subscription: str | None, state: str | None, limit: int, output: str) -> None:
    """List failure groups, the last failure first."""
    rows = api().rows("failure-groups", {"subscription": subscription, "state": state}, limit=limit)
    filtered = bool(subscription or state)
    empty = "no failure group matches" if filtered else "no failure groups"
    print_list(rows, _COLUMNS, output, empty=empty, limit=limit, filtered=filtered)


@failure_groups.command(epilog=_ID_HELP)
@click.argument("ident", metavar="ID")
@format_option
def show(ident: str, output: str) -> None:
    """Show one failure group."""
    print_object(_call(api(), "GET", ident), output)


@failure_groups.command(epilog=_ID_HELP)
@click.argument("ident", metavar="ID")
def acknowledge(ident: str) -> None:
    """Mute a group until it has twice as many deliveries, at least ten more, or fails again after it was fixed."""
    _call(api(), "POST", ident, "acknowledge")
    say(f"{ident} is acknowledged")


@failure_groups.command(epilog=_ID_HELP)
@click.argument("ident", metavar="ID")
def reopen(ident: str) -> None:
    """Unmute a group."""
    _call(api(), "POST", ident, "reopen")
    say(f"{ident} is open")


@failure_groups.command(epilog=_ID_HELP)
@click.argument("ident", metavar="ID")
@rate_option
@wait_option
@dry_run_option
@yes_option
def replay(ident: str, rate: float | None, no_wait: bool, dry_run: bool, yes: bool) -> None:
    """Replay the dead letters of a group with all their tries and the same event ids.

    The dispatch process runs this as a job: `replays` lists, stops and resumes it.
    """
    bridge = api()
    _dead(bridge, ident)
    body = {"what": "dead_letters", "group": ident, "rate": rate}
    make(bridge, body, yes=yes, wait=not no_wait, dry_run=dry_run)


@failure_groups.command(epilog=_ID_HELP)
@click.argument("ident", metavar="ID")
@yes_option
def discard(ident: str, yes: bool) -> None:
    """Delete the dead letters of a group permanently."""
    bridge = api()
    confirm_broad(yes, f"{_dead(bridge, ident)} dead letters of {ident} would be deleted permanently")
    click.echo(f"{_call(bridge, 'POST', ident, 'discard')['discarded']} discarded")


def _dead(bridge: Api, ident: str) -> int:
    """The number of dead letters in a group; ends the command if there is none."""
    dead: int = _call(bridge, "GET", ident)["dead"]
    if not dead:
        exit_nothing_matched(f"no dead letter in {ident}")
    return dead


def _call(bridge: Api, method: str, ident: str, action: str = "") -> Any:
    subscription, slash, fingerprint = ident.partition("/")
    if not (subscription and slash and fingerprint):
        raise click.UsageError(f'"{ident}" is not the ID of a failure group. Write SUBSCRIPTION/FINGERPRINT')
    parts = ("failure-groups", subscription, fingerprint, *([action] if action else []))
    try:
        answer: Any = bridge.call(method, path_of(*parts))
    except ApiProblem as problem:
        if problem.status != HTTPStatus.NOT_FOUND:
            raise
        exit_nothing_matched(f"no failure group {ident}; see attempt-bridge failure-groups list")
    return answer
