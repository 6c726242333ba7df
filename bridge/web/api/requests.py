"""`/api/v1/requests`: webhooks as received, refused ones included; and processing one again."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Response
from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.errors import clip
from bridge.ingest.reprocess import reprocess_request
from bridge.journal import WEBHOOK, StoredRequest
from bridge.journal.attempts import revisions
from bridge.journal.event_fields import EventItem
from bridge.journal.request_fields import OUTCOMES, request_fields
from bridge.journal.search import search
from bridge.web.api.auditing import audited
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, known_source, needs, refuse, sees_persons, services_here
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
from schemas.event import source_path

__all__ = ["RequestRow", "blueprint", "request_row"]

blueprint = ApiBlueprint("requests", __name__, url_prefix="/api/v1/requests", description="Webhooks as received.")

_FIELDS = {persons: request_fields(persons=persons) for persons in (False, True)}
#: No request has the id, or several ids begin with it.
_ID_ERRORS = (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
#: Entries to read first: most requests are small, but each may have 256 kB.
_FIRST = 100
#: Attempts of one request whose events are looked up.
_MOST_ATTEMPTS = 10
#: Seconds: the time of a request is rounded to a millisecond, that of its events is truncated.
_ROUNDED = 0.002


class _Filter(FilteredQuery):
    source = fields.String(validate=sound, metadata={"description": "Filter by source."})
    outcome = fields.String(validate=validate.OneOf(OUTCOMES), metadata={"description": "Filter by outcome."})


class RequestRow(Schema):
    """One webhook as received, without its body."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "The request's id."})
    received_at = fields.String(required=True, metadata={"description": "When it was received."})
    source = fields.String(required=True, metadata={"description": "Name of the source."})
    outcome = fields.String(
        required=True, metadata={"description": "What the vendor was answered; `rejected`: it was refused."}
    )
    reason = fields.String(required=True, allow_none=True, metadata={"description": "Why it has this outcome."})
    attempts = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Ids of the attempts in it, and keys of the watches that it opened."},
    )
    secret = fields.Integer(
        required=True,
        allow_none=True,
        metadata={
            "description": "Number of the secret, or of the token in the address, that it matched: 1 is the first "
            "one of the configuration at that time. Null: there is none, or it is not known."
        },
    )
    bytes = fields.Integer(required=True, metadata={"description": "Length of its body."})


class RequestEvent(Schema):
    """One event that a request brought."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "The event's id."})
    type = fields.String(required=True, metadata={"description": "Type of the event."})
    attempt = fields.String(required=True, metadata={"description": "The attempt's id."})
    revision = fields.Integer(required=True, allow_none=True, metadata={"description": "Revision of the attempt."})


class RequestDetails(RequestRow):
    """One webhook as received, with its headers and what it brought."""

    headers = fields.Dict(
        keys=fields.String(), values=fields.String(), required=True, metadata={"description": "The stored headers."}
    )
    events = fields.List(
        fields.Nested(RequestEvent),
        required=True,
        metadata={"description": f"The events that it brought, of its first {_MOST_ATTEMPTS} attempts."},
    )


class RequestPage(FilteredPage):
    """Requests, newest first."""

    requests = fields.List(fields.Nested(RequestRow), required=True)


class Reprocessed(Schema):
    """What became of a request that was processed again."""

    outcome = fields.String(required=True, metadata={"description": "What the vendor would be answered now."})


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listRequests")
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, RequestPage, description="The requests that match")
def list_requests(query: Mapping[str, Any]) -> dict[str, Any]:
    """List requests

    Newest first. docs/operations.md, "Filters", describes the language of `filter` and all fields.
    """
    services = services_here()
    if "source" in query:
        known_source(query["source"])
    asked = query_of(query, _FIELDS[sees_persons()])
    wanted = {name: query[name] for name in ("source", "outcome") if name in query}
    store, listed = services.requests, set[str]()
    place = place_of("requests", query, len(store.streams))
    first = min(query["limit"] + 1, _FIRST)
    steps = store.newest_first(since=asked.since, until=asked.until, after=place, first=first)

    def matches(request: StoredRequest) -> bool:
        fits = all(getattr(request, name) == value for name, value in wanted.items()) and asked.matches(request)
        # Stored twice where the state server's answer was lost.
        fits = fits and request.id not in listed
        listed.add(request.id)
        return fits

    page = search(steps, matches, query["limit"])
    return page_of_search("requests", page, [request_row(request) for request in page.rows])


@blueprint.route("/<ident>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showRequest", *_ID_ERRORS)
@blueprint.response(200, RequestDetails, description="The request")
def show_request(ident: str) -> dict[str, Any]:
    """Show one request without its body

    The first characters of an id, at least four, are enough if only one request has them. 404: there is none; it may
    be older than `bridge.retention.requests`.
    """
    request = _find(ident)
    return {**request_row(request), "headers": dict(request.headers), "events": _events(request)}


@blueprint.route("/<ident>/raw", methods=["GET"])
@needs(OPERATOR)
@described(blueprint, "readRequest", *_ID_ERRORS)
@blueprint.response(
    200,
    {"type": "string", "format": "binary"},
    content_type="application/octet-stream",
    description="The body, byte for byte; of a refused request only its beginning",
)
def read_request(ident: str) -> Response:
    """Get the body of a request

    Byte for byte, as it was received; of a rejected request only the first 4 kB.
    """
    answer = Response(_find(ident).body, mimetype="application/octet-stream")
    answer.headers["Content-Disposition"] = "attachment"
    return answer


@blueprint.route("/<ident>/reprocess", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "reprocessRequest", *_ID_ERRORS, HTTPStatus.CONFLICT)
@blueprint.response(200, Reprocessed, description="Processed again")
def reprocess(ident: str) -> dict[str, Any]:
    """Process a request again

    With the current code and configuration. Attempts that were published before are duplicates and stay as they
    are. 409: it was rejected, or its source was removed.
    """
    services, request = services_here(), _find(ident)
    if request.outcome == "rejected":
        refuse(409, f"request {request.id} was rejected. Have the vendor send it again")
    if request.source not in services.config.sources:
        refuse(409, f"the source of request {request.id} was removed: {request.source}. Add it to bridge.yaml again")
    outcome = reprocess_request(services.ingest_context(request.source), request, now=services.now())
    if outcome != "quarantined":
        for entry in list(services.quarantine.list(source=request.source)):
            if entry.request_id == request.id:
                services.quarantine.remove(entry)
    audited(f"request {request.id}", before={"outcome": request.outcome}, after={"outcome": outcome})
    return {"outcome": outcome}


def _events(request: StoredRequest) -> list[dict[str, Any]]:
    """The events that were built from it: they have the time at which it was received."""
    services = services_here()
    path = source_path(services.config.bridge.name, request.source)
    reader, index, now = services.journal_reader, services.event_index, services.now()
    rows: list[dict[str, Any]] = []
    for attempt, memory in reader.attempts(request.source, request.attempts[:_MOST_ATTEMPTS]).items():
        for stored in revisions(reader, index, path, request.source, attempt, memory, now=now):
            event = EventItem(stored)
            if event.member("bridgeorigin") == WEBHOOK and abs(event.built_at - request.received_at) < _ROUNDED:
                revision = event.member("data", "attempt", "revision")
                rows.append({"id": stored.id, "type": stored.type, "attempt": attempt, "revision": revision})
    return rows if sees_persons() else [without_addresses(row) for row in rows]


def _find(ident: str) -> StoredRequest:
    matches = services_here().requests.look_up(ident)
    if not matches:
        refuse(404, f"unknown request: {clip(ident, 40)}. It may be older than bridge.retention.requests")
    if len({request.id for request in matches}) > 1:
        refuse_ambiguous("requests", ident)
    return matches[0]


def request_row(request: StoredRequest) -> dict[str, Any]:
    """One request as the API shows it to the caller."""
    return {
        "id": request.id,
        "received_at": iso(request.received_at),
        "source": request.source,
        "outcome": request.outcome,
        "reason": request.reason or None,
        "attempts": list(request.attempts) if sees_persons() else without_addresses(list(request.attempts)),
        "secret": request.secret,
        "bytes": len(request.body),
    }
