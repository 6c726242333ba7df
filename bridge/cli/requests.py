"""`requests`: webhooks as received, also the refused ones; and running stored ones again."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.common import (
    confirm_broad,
    format_option,
    known_name,
    limit_option,
    load_services,
    since_option,
    yes_option,
)
from bridge.cli.output import iso, print_list, print_one, say

if TYPE_CHECKING:
    from bridge.journal import StoredRequest
    from bridge.services import Services

__all__ = ["requests"]

_COLUMNS = ("received_at", "source", "outcome", "id", "attempts", "bytes", "reason")


@click.group()
def requests() -> None:
    """Look at requests as received; run stored ones again."""


@requests.command("list")
@click.option("--source", help="Only of this source.")
@click.option("--outcome", help="Only these: published, revised, duplicate, quarantined, rejected, ...")
@since_option
@limit_option
@format_option
def list_(source: str | None, outcome: str | None, since: float | None, limit: int, output: str) -> None:
    """List requests, newest first."""
    services = load_services()
    if source:
        known_name(source, services.config.sources, "source")
    found = services.requests.list(source=source, outcome=outcome, since=since)
    print_list(
        (_row(request) for request in found),
        _COLUMNS,
        output,
        empty="no request yet" if not (source or outcome or since) else "no request fits",
        limit=limit,
        filtered=bool(source or outcome or since),
    )


@requests.command()
@click.argument("request_id")
@format_option
def show(request_id: str, output: str) -> None:
    """Show one request without its body; `raw` prints that."""
    request = _find(load_services(), request_id)
    print_one({**_row(request), "headers": dict(request.headers)}, output)


@requests.command()
@click.argument("request_id")
def raw(request_id: str) -> None:
    """Print the body of one request, byte for byte."""
    sys.stdout.buffer.write(_find(load_services(), request_id).body)
    sys.stdout.buffer.flush()  # here and not at exit, where a closed pipe would be complained about


@requests.command()
@click.argument("request_id", required=False)
@click.option("--source", help="All quarantined requests of this source.")
@since_option
@yes_option
def reprocess(request_id: str | None, source: str | None, since: float | None, yes: bool) -> None:
    """Run one stored request, or all quarantined ones, through the current code again.

    What was published before is a duplicate and stays as it is.
    """
    services = load_services()
    if request_id:
        chosen = [_find(services, request_id)]
        if chosen[0].outcome == "rejected":
            raise click.BadParameter(f"request {request_id} was refused; let the vendor send it again")
    else:
        if source:
            known_name(source, services.config.sources, "source")
        chosen = list(services.requests.list(source=source, outcome="quarantined", since=since))
        if not chosen:
            say("no request is in quarantine")
            click.get_current_context().exit(3)
        confirm_broad(yes, f"{len(chosen)} quarantined requests would be read again")
    outcomes = Counter(_again(services, request) for request in chosen)
    click.echo(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    failed = outcomes["quarantined"] + outcomes["source removed"]
    click.get_current_context().exit(0 if not failed else 4 if failed < len(chosen) else 1)


def _again(services: Services, request: StoredRequest) -> str:
    from bridge.ingest.reprocess import reprocess_request  # noqa: PLC0415 - `--help` must be quick

    if request.source not in services.config.sources:
        return "source removed"
    outcome = reprocess_request(services.ingest_context(request.source), request, now=services.now())
    if outcome != "quarantined":
        for entry in [one for one in services.quarantine.list(source=request.source) if one.request_id == request.id]:
            services.quarantine.remove(entry)
    return outcome


def _find(services: Services, request_id: str) -> StoredRequest:
    found = services.requests.find(request_id)
    if found is None:
        say(f"no request {request_id}; it may have been older than bridge.retention.requests")
        click.get_current_context().exit(3)
    return found


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
