"""`requests`: webhooks as received, refused ones included; and processing them again."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import click

from bridge.cli.common import load_services
from bridge.cli.exit_codes import of_failures
from bridge.cli.options import (
    confirm_broad,
    exit_nothing_matched,
    format_option,
    known_name,
    limit_option,
    since_option,
    unique_match,
    until_option,
    yes_option,
)
from bridge.cli.output import iso, print_list, print_object
from bridge.cli.watching import watch_option
from bridge.ingest.reprocess import reprocess_request
from bridge.journal import StoredRequest
from bridge.services import Services

__all__ = ["requests"]

_COLUMNS = ("received_at", "source", "outcome", "id", "attempts", "bytes", "reason")


@click.group()
def requests() -> None:
    """List, show or reprocess received webhooks."""


@requests.command("list")
@click.option("--source", help="Filter by source.")
@click.option("--outcome", help="Filter by outcome: published, revised, duplicate, quarantined, rejected, ...")
@since_option
@until_option
@limit_option
@format_option
@watch_option
def list_(
    source: str | None, outcome: str | None, since: float | None, until: float | None, limit: int, output: str
) -> None:
    """List requests, newest first."""
    services = load_services()
    if source:
        known_name(source, services.config.sources, "source")
    matches = services.requests.list(source=source, outcome=outcome, since=since, until=until)
    filtered = bool(source or outcome or since or until)
    print_list(
        (_row(request) for request in matches),
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
    request = _find(load_services(), request_id)
    print_object({**_row(request), "headers": dict(request.headers)}, output)


@requests.command()
@click.argument("request_id")
def raw(request_id: str) -> None:
    """Print the body of one request, byte for byte."""
    sys.stdout.buffer.write(_find(load_services(), request_id).body)
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
    services = load_services()
    if request_id:
        chosen = [_find(services, request_id)]
        if chosen[0].outcome == "rejected":
            raise click.BadParameter(f"request {request_id} was rejected. Have the vendor send it again")
    else:
        if source:
            known_name(source, services.config.sources, "source")
        chosen = list(services.requests.list(source=source, outcome="quarantined", since=since))
        if not chosen:
            exit_nothing_matched("no quarantined requests")
        confirm_broad(yes, f"{len(chosen)} quarantined requests would be processed again")
    outcomes = Counter(_reprocess(services, request) for request in chosen)
    click.echo(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    failed = outcomes["quarantined"] + outcomes["source removed"]
    click.get_current_context().exit(of_failures(failed, len(chosen)))


def _reprocess(services: Services, request: StoredRequest) -> str:
    if request.source not in services.config.sources:
        return "source removed"
    outcome = reprocess_request(services.ingest_context(request.source), request, now=services.now())
    if outcome != "quarantined":
        for entry in list(services.quarantine.list(source=request.source)):
            if entry.request_id == request.id:
                services.quarantine.remove(entry)
    return outcome


def _find(services: Services, request_id: str) -> StoredRequest:
    request = services.requests.find(request_id) or unique_match(request_id, services.requests.list(), "request")
    if request is None:
        exit_nothing_matched(f"no request {request_id}; it may be older than bridge.retention.requests")
    return request


def _row(request: StoredRequest) -> dict[str, Any]:
    return {
        "id": request.id,
        "received_at": iso(request.received_at),
        "source": request.source,
        "outcome": request.outcome,
        "reason": request.reason or None,
        "attempts": list(request.attempts),
        "bytes": len(request.body),
    }
