"""`deliveries`: handing events to subscriptions, with every try that is kept."""

from __future__ import annotations

from http import HTTPStatus

import click

from bridge.cli.api_client import Api, ApiProblem, api, path_of
from bridge.cli.exit_codes import NOTHING_MATCHED, of_failures
from bridge.cli.options import (
    exit_nothing_matched,
    filter_option,
    format_option,
    limit_option,
    since_option,
    until_option,
)
from bridge.cli.output import iso, print_list, print_object, say
from bridge.cli.watching import watch_option

__all__ = ["deliveries"]

_COLUMNS = ("at", "subscription", "state", "event_id", "source", "attempt", "tries", "next_try", "reason")
_STATES = ("waiting", "retrying", "awaiting_receipt", "delivered", "dead", "cancelled")
_ID_HELP = "ID: SUBSCRIPTION/EVENT, as `deliveries list -o json` prints it."


@click.group()
def deliveries() -> None:
    """List, show, retry or cancel deliveries."""


@deliveries.command("list")
@click.option("--subscription", help="Filter by subscription.")
@click.option("--state", type=click.Choice(_STATES), help="Filter by state; `waiting` is listed only if asked for.")
@click.option("--source", help="Filter by source.")
@click.option("--attempt", help="Filter by attempt.")
@click.option("--event", help="Filter by event id.")
@filter_option
@since_option
@until_option
@limit_option
@format_option
@watch_option
def list_(
    filter_: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    output: str,
    **given: str | None,
) -> None:
    """List deliveries: those under way by next try, then those that have ended, newest first."""
    rows = api().rows("deliveries", {**given, "filter": filter_, "since": iso(since), "until": iso(until)}, limit=limit)
    filtered = bool(any(given.values()) or filter_ or since or until)
    empty = "no delivery matches" if filtered else "no deliveries yet"
    print_list(rows, _COLUMNS, output, empty=empty, limit=limit, filtered=filtered)


@deliveries.command(epilog=_ID_HELP)
@click.argument("ident", metavar="ID")
@format_option
def show(ident: str, output: str) -> None:
    """Show one delivery with its tries."""
    try:
        row = api().call("GET", _path(ident))
    except ApiProblem as problem:
        if problem.status != HTTPStatus.NOT_FOUND:
            raise
        exit_nothing_matched(_unknown(ident))
    print_object(row, output)


@deliveries.command(epilog=_ID_HELP)
@click.argument("idents", metavar="ID...", nargs=-1, required=True)
def retry(idents: tuple[str, ...]) -> None:
    """Make the next try of each delivery due now."""
    _each(idents, "retry", "due now")


@deliveries.command(epilog=_ID_HELP)
@click.argument("idents", metavar="ID...", nargs=-1, required=True)
def cancel(idents: tuple[str, ...]) -> None:
    """Give up deliveries without leaving a dead letter."""
    _each(idents, "cancel", "cancelled")


def _each(idents: tuple[str, ...], action: str, done: str) -> None:
    bridge, failures, unknown = api(), 0, 0
    for ident in idents:
        problem = _do(bridge, ident, action)
        if problem is not None:
            failures += 1
            unknown += problem.status == HTTPStatus.NOT_FOUND
            say(_unknown(ident) if problem.status == HTTPStatus.NOT_FOUND else problem.detail)
    click.echo(f"{len(idents) - failures} {done}, {failures} failed")
    code = NOTHING_MATCHED if unknown == len(idents) else of_failures(failures, len(idents))
    click.get_current_context().exit(code)


def _do(bridge: Api, ident: str, action: str) -> ApiProblem | None:
    """The problem with this delivery, None if it is done; any other problem ends the command."""
    try:
        bridge.call("POST", f"{_path(ident)}/{action}")
    except ApiProblem as problem:
        if problem.status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            return problem
        raise
    return None


def _path(ident: str) -> str:
    subscription, slash, event_id = ident.partition("/")
    if not (subscription and slash and event_id):
        raise click.UsageError(f'"{ident}" is not the ID of a delivery. Write SUBSCRIPTION/EVENT')
    return path_of("deliveries", subscription, event_id)


def _unknown(ident: str) -> str:
    return f"no delivery {ident}; it has not been tried yet, or is older than bridge.retention.deliveries"
