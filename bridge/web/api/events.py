"""`/api/v1/events`: published events, notices included. Following them live is in `stream.py`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.errors import clip
from bridge.journal.event_fields import EventItem, event_fields
from bridge.journal.event_index import SHORTEST
from bridge.journal.search import search
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, known_source, needs, refuse, sees_persons, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import (
    FilteredPage,
    FilteredQuery,
    iso,
    page_of_search,
    place_of,
    query_of,
    refuse_ambiguous,
    without_addresses,
)
from bridge.web.api.members import sound
from schemas.event import minimal

__all__ = ["EventRow", "blueprint", "event_row"]

blueprint = ApiBlueprint("events", __name__, url_prefix="/api/v1/events", description="Published events.")

_FIELDS = {persons: event_fields(persons=persons) for persons in (False, True)}


class _Filter(FilteredQuery):
    source = fields.String(validate=sound, metadata={"description": "Filter by source."})
    type = fields.String(validate=[sound, validate.Length(max=100)], metadata={"description": "Filter by type."})
    attempt = fields.String(validate=sound, metadata={"description": "Filter by attempt."})


class EventRow(Schema):
    """One event of the journal."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "The event's id."})
    recorded_at = fields.String(required=True, metadata={"description": "When the bridge recorded it."})
    type = fields.String(required=True, metadata={"description": "Type of the event."})
    source = fields.String(required=True, metadata={"description": "Name of the source."})
    attempt = fields.String(required=True, metadata={"description": "The attempt's id; of a notice, what it concerns."})
    revision = fields.Integer(required=True, allow_none=True, metadata={"description": "Revision of the attempt."})
    origin = fields.String(
        required=True, allow_none=True, metadata={"description": "`webhook`, `poll`, `backfill` or `bridge`."}
    )
    entry_id = fields.String(required=True, metadata={"description": "Stream id in the journal of its partition."})
    partition = fields.Integer(required=True, metadata={"description": "Partition of the journal."})
    event = fields.Dict(
        required=True,
        metadata={"description": "The whole event; viewers get it as `data: minimal` sends it, without the person."},
    )


class EventPage(FilteredPage):
    """Events, newest first."""

    events = fields.List(fields.Nested(EventRow), required=True)


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listEvents")
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, EventPage, description="The events that match")
def list_events(query: Mapping[str, Any]) -> dict[str, Any]:
    """List events

    Newest first. docs/operations.md, "Filters", describes the language of `filter` and all fields.
    """
    services, persons = services_here(), sees_persons()
    if "source" in query:
        known_source(query["source"])
    asked = query_of(query, _FIELDS[persons])
    wanted = {name: query[name] for name in ("source", "type", "attempt") if name in query}
    reader = services.journal_reader
    steps = reader.newest_first(
        since=asked.since,
        until=asked.until,
        after=place_of("events", query, reader.partitions),
        first=query["limit"] + 1,
    )

    def matches(item: EventItem) -> bool:
        stored = item.stored
        given = {"source": stored.source, "type": stored.type, "attempt": item.attempt}
        return all(given[name] == value for name, value in wanted.items()) and asked.matches(item)

    items = ((place, size, EventItem(stored, persons=persons)) for place, size, stored in steps)
    page = search(items, matches, query["limit"])
    return page_of_search("events", page, [event_row(item, persons) for item in page.rows])


@blueprint.route("/<ident>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showEvent", HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
@blueprint.response(200, EventRow, description="The event")
def show_event(ident: str) -> dict[str, Any]:
    """Show one event

    The first characters of an id, at least four, are enough if only one event has them. 404: there is none; it may be
    older than `bridge.retention.events`.
    """
    services = services_here()
    matches = services.event_index.find(ident, services.now())
    if not matches:
        # Published by an earlier version, which wrote no index.
        steps = services.journal_reader.newest_first()
        matches = search(steps, lambda event: event.id.startswith(ident), 2).rows if len(ident) >= SHORTEST else []
    if not matches:
        refuse(404, f"unknown event: {clip(ident, 40)}. It may be older than bridge.retention.events")
    if len({event.id for event in matches}) > 1:
        refuse_ambiguous("events", ident)
    return event_row(EventItem(matches[0]), sees_persons())


def event_row(item: EventItem, persons: bool) -> dict[str, Any]:
    """The event as the API shows it. `persons`: the caller may see names, e-mail addresses and labels."""
    stored, document = item.stored, item.document
    row = {
        "id": stored.id,
        "recorded_at": iso(item.recorded_at),
        "type": stored.type,
        "source": stored.source,
        "attempt": stored.attempt,
        "revision": item.member("data", "attempt", "revision"),
        "origin": item.member("bridgeorigin"),
        "entry_id": stored.entry_id,
        "partition": stored.partition,
        "event": document,
    }
    return row if persons else without_addresses({**row, "event": _without_person(document)})


def _without_person(document: dict[str, Any]) -> dict[str, Any]:
    """The event as `data: minimal` sends it, and without the label."""
    if "data" not in document:
        return document
    short = minimal(document)
    short["data"] = {**short["data"], "extensions": {}}
    return short
