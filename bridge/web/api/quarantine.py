"""`/api/v1/quarantine`: authentic requests and records that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from marshmallow import EXCLUDE, Schema, fields

from bridge.errors import clip
from bridge.journal import Quarantined
from bridge.journal.search import search
from bridge.query import Field, Fields, Glob, Number
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, mask_persons, needs, refuse, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import FilteredPage, FilteredQuery, iso, page_of_search, place_of, query_of
from bridge.web.api.members import shown_time

__all__ = ["FIELDS", "blueprint"]

blueprint = ApiBlueprint(
    "quarantine", __name__, url_prefix="/api/v1/quarantine", description="Requests and records that cannot be read."
)
_NUMBER = re.compile(r"\d{1,15}-\d{1,15}", re.ASCII)
FIELDS = Fields(
    Field("source", Glob(), lambda item: item.source, "name of the source"),
    Field("origin", Glob(), lambda item: item.origin, "`webhook`, `poll` or `backfill`"),
    Field("reason", Glob(), lambda item: item.reason, "why it could not be read"),
    Field("request", Glob(), lambda item: item.request_id, "id of the request"),
    Field("bytes", Number(), lambda item: len(item.body), "length of its body"),
    search=lambda item: (item.reason,),
)


class ItemShape(Schema):
    """One item that cannot be read."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "`quarantine/` and its number."})
    received_at = shown_time("When it was received.")
    source = fields.String(required=True, metadata={"description": "Name of the source."})
    origin = fields.String(required=True, metadata={"description": "`webhook`, `poll` or `backfill`."})
    request_id = fields.String(
        required=True, allow_none=True, metadata={"description": "Id of the request; null for a polled record."}
    )
    reason = fields.String(required=True, metadata={"description": "Why it cannot be read."})
    bytes = fields.Integer(required=True, metadata={"description": "Length of the body."})


class ItemDetails(ItemShape):
    """One item with its body."""

    body = fields.String(required=True, metadata={"description": "The body as text; viewers get `***`."})


class ItemPage(FilteredPage):
    """Items, newest first."""

    quarantine = fields.List(fields.Nested(ItemShape), required=True)
    expired = fields.Integer(
        required=True, metadata={"description": "How many items `retention.dead_letters` has removed so far."}
    )


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listQuarantine")
@blueprint.arguments(FilteredQuery, location="query")
@blueprint.response(200, ItemPage, description="The items that match")
def list_all(query: Mapping[str, Any]) -> dict[str, Any]:
    """List what cannot be read

    Newest first.
    """
    store = services_here().quarantine
    asked = query_of(query, FIELDS)
    steps = store.newest_first(since=asked.since, until=asked.until, after=place_of("quarantine", query, 1))
    page = search(steps, asked.matches, query["limit"])
    return page_of_search("quarantine", page, [_row(item) for item in page.rows]) | {"expired": store.expired()}


@blueprint.route("/<number>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showQuarantined", HTTPStatus.NOT_FOUND)
@blueprint.response(200, ItemDetails, description="The item")
def show(number: str) -> dict[str, Any]:
    """Show what cannot be read

    With its body. 404: there is none; it may have been read since.
    """
    item = _item(number)
    if item is None:
        refuse(404, f"unknown item: quarantine/{clip(number, 40)}. It may have been read meanwhile")
    return mask_persons({**_row(item), "body": item.body.decode(errors="replace")}, "body")


def _item(number: str) -> Quarantined | None:
    return services_here().quarantine.find(number) if _NUMBER.fullmatch(number) else None


def _row(item: Quarantined) -> dict[str, Any]:
    return {
        "id": f"quarantine/{item.entry_id}",
        "received_at": iso(item.received_at),
        "source": item.source,
        "origin": item.origin,
        "request_id": item.request_id,
        "reason": item.reason,
        "bytes": len(item.body),
    }
