"""`requests`: webhooks as received, refused ones included; and processing them again."""

from __future__ import annotations

import sys
from collections import Counter
from http import HTTPStatus
from typing import Any

import click

from bridge.cli.api_client import Api, ApiProblem, api, path_of
from bridge.cli.exit_codes import of_failures
from bridge.cli.options import (
    confirm_broad,
    exit_nothing_matched,
    filter_option,
    format_option,
    limit_option,
    since_option,
    until_option,
    yes_option,
)
from bridge.cli.output import iso, print_list, print_object
from bridge.cli.watching import watch_option

__all__ = ["requests"]

_COLUMNS = ("received_at", "source", "outcome", "id", "attempts", "bytes", "reason")
_SOURCE_REMOVED = "source removed"


@click.group()
def requests() -> None:
    """List, show or reprocess received webhooks."""


@requests.command("list")
@click.option("--source", help="Filter by source.")
@click.option("--outcome", help="Filter by outcome: published, revised, duplicate, quarantined, rejected, ...")
@filter_option
@since_option
@until_option
@limit_option
@format_option
@watch_option
def list_(
    source: str | None,
    outcome: str | None,
    filter_: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    output: str,
) -> None:
    """List requests, newest first."""
    query = {"source": source, "outcome": outcome, "filter": filter_, "since": iso(since), "until": iso(until)}
    filtered = bool(source or outcome or filter_ or since or until)
    print_list(
        api().rows("requests", query, limit=limit),
        _COLUMNS,
        output,
        empty="no request matches" if filtered else "no requests yet",
        limit=limit,
        filtered=filtered,
    )


@requests.command()
@click.argument("request_id")
@format_option
def show(request_id: str, output: str) -> None:
    """Show one request without its body; `raw` prints the body."""
    print_object(_find(api(), request_id), output)


@requests.command()
@click.argument("request_id")
def raw(request_id: str) -> None:
    """Print the body of one request, byte for byte."""
    bridge = api()
    ident = _find(bridge, request_id)["id"]
    sys.stdout.buffer.write(bridge.read(path_of("requests", ident, "raw")))
    sys.stdout.buffer.flush()  # not at exit, where a closed pipe would print an error


@requests.command()
@click.argument("request_id", required=False)
@click.option("--source", help="Without an id: only requests of this source.")
@since_option
@yes_option
def reprocess(request_id: str | None, source: str | None, since: float | None, yes: bool) -> None:
    """Process one stored request, or all quarantined ones, again.

    Attempts that were published before are duplicates and stay as they are.
    """
    bridge = api()
    if request_id:
        chosen = [_find(bridge, request_id)]
        if chosen[0]["outcome"] == "rejected":
            raise click.BadParameter(f"request {request_id} was rejected. Have the vendor send it again")
    else:
        query = {"source": source, "outcome": "quarantined", "since": iso(since)}
        chosen = list(bridge.rows("requests", query, limit=sys.maxsize))
        if not chosen:
            exit_nothing_matched("no quarantined requests")
        confirm_broad(yes, f"{len(chosen)} quarantined requests would be processed again")
    outcomes = Counter(_reprocess(bridge, request["id"]) for request in chosen)
    click.echo(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    failed = outcomes["quarantined"] + outcomes[_SOURCE_REMOVED]
    click.get_current_context().exit(of_failures(failed, len(chosen)))


def _reprocess(bridge: Api, ident: str) -> str:
    try:
        outcome: str = bridge.call("POST", path_of("requests", ident, "reprocess"))["outcome"]
    except ApiProblem as problem:
        if problem.status != HTTPStatus.CONFLICT:
            raise
        return _SOURCE_REMOVED
    return outcome


def _find(bridge: Api, request_id: str) -> dict[str, Any]:
    try:
        request: dict[str, Any] = bridge.call("GET", path_of("requests", request_id))
    except ApiProblem as problem:
        if problem.status != HTTPStatus.NOT_FOUND:
            raise
        exit_nothing_matched(f"no request {request_id}; it may be older than bridge.retention.requests")
    return request
