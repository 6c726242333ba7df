"""`events`: published events, as the journal has them."""

from __future__ import annotations

from http import HTTPStatus

import click

from bridge.cli.api_client import ApiProblem, api, path_of
from bridge.cli.following import follow
from bridge.cli.options import (
    exit_nothing_matched,
    filter_option,
    format_option,
    limit_option,
    since_option,
    until_option,
)
from bridge.cli.output import as_text, iso, print_list, print_object
from bridge.cli.watching import watch_option

__all__ = ["events"]

_COLUMNS = ("recorded_at", "type", "source", "attempt", "revision", "origin", "id")


_TRY_COLUMNS = ("at", "outcome", "subscription", "event_id", "tries", "status", "seconds", "reason")


@click.group()
def events() -> None:
    """List, show or follow published events."""


@events.command("list")
@click.option("--source", help="Filter by source.")
@click.option("--type", "event_type", help="Filter by type, such as attempt.completed.")
@click.option("--attempt", help="Filter by attempt.")
@filter_option
@since_option
@until_option
@limit_option
@format_option
@watch_option
def list_(
    source: str | None,
    event_type: str | None,
    attempt: str | None,
    filter_: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    output: str,
) -> None:
    """List events, newest first. JSON has the whole events."""
    query = {"source": source, "type": event_type, "attempt": attempt, "filter": filter_}
    rows = api().rows("events", {**query, "since": iso(since), "until": iso(until)}, limit=limit)
    filtered = bool(source or event_type or attempt or filter_ or since or until)
    print_list(
        rows,
        _COLUMNS,
        output,
        empty="no event matches" if filtered else "no events yet",
        limit=limit,
        filtered=filtered,
    )


@events.command()
@click.argument("event_id")
@format_option
def show(event_id: str, output: str) -> None:
    """Show one event."""
    try:
        row = api().call("GET", path_of("events", event_id))
    except ApiProblem as problem:
        if problem.status != HTTPStatus.NOT_FOUND:
            raise
        exit_nothing_matched(f"no event {event_id} in the journal; it may be older than bridge.retention.events")
    # Always JSON: a table of attributes would be harder to read.
    print_object(row["event"], "json" if output == "table" else output)


@events.command()
@click.option("--source", help="Filter by source.")
@click.option("--type", "event_type", help="Filter by type, such as attempt.completed.")
@click.option("--attempt", help="Filter by attempt.")
@filter_option
@since_option
@click.option(
    "--topics",
    metavar="TOPIC[,TOPIC]",
    help="Topics: events, alarms, deliveries (tries as they end); default: events,alarms.",
)
@format_option
def tail(
    source: str | None,
    event_type: str | None,
    attempt: str | None,
    filter_: str | None,
    since: float | None,
    topics: str | None,
    output: str,
) -> None:
    """Print events as they are published, until Ctrl-C; with --since, earlier ones first."""
    query = {"source": source, "type": event_type, "attempt": attempt, "filter": filter_, "since": iso(since)}
    for row in follow(api(), {**query, "topics": topics}):
        # The row of a delivery's try contains no event.
        columns, document = (_COLUMNS, row["event"]) if "event" in row else (_TRY_COLUMNS, row)
        if output == "table":
            click.echo("  ".join(str(row[column]) for column in columns))
        else:
            # One document per event; JSON in one line, because a reader takes line by line.
            click.echo("---\n" + as_text(document, output) if output == "yaml" else as_text(document, "jsonl"))
