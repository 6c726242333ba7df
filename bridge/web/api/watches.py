"""`/api/v1/watches`: expected attempts, and all others that are rechecked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gevent
from flask import Response
from marshmallow import Schema, ValidationError, fields, validate

from bridge import watch_registration
from bridge.polling.expectations import KNOWN_AFTER_SECONDS
from bridge.watch_registration import STATES, NewWatch, WatchRow, sound
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, needs, refuse, services_here

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "watches", __name__, url_prefix="/api/v1/watches", description="Attempts that are rechecked or expected."
)
_SECURITY: dict[str, Any] = {"security": [{"token": []}]}


class _Filter(Schema):
    source = fields.String(validate=sound, metadata={"description": "Filter by source."})
    state = fields.String(validate=validate.OneOf(STATES), metadata={"description": "Filter by state."})
    limit = fields.Integer(load_default=100, validate=validate.Range(1, 1000))


class _Page(Schema):
    watches = fields.List(fields.Nested(WatchRow))
    total = fields.Integer(metadata={"description": "Number of all matching watches."})


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@blueprint.doc(**_SECURITY)
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, _Page)
def list_watches(query: Mapping[str, Any]) -> dict[str, Any]:
    """List watches: overdue ones first, then by next check."""
    services = services_here()
    name = query.get("source")
    if name is not None and name not in services.config.sources:
        refuse(404, f'unknown source: "{name}"')
    rows = watch_registration.rows(services, [name] if name else list(services.config.sources))
    rows = [row for row in rows if query.get("state") in (None, row["state"])]
    return {"watches": rows[: query["limit"]], "total": len(rows)}


@blueprint.route("", methods=["POST"])
@needs(OPERATOR)
@blueprint.doc(**_SECURITY)
@blueprint.arguments(NewWatch)
@blueprint.response(201, WatchRow)
def add_watch(document: Mapping[str, Any]) -> dict[str, Any]:
    """Expect an attempt. Registering it again replaces its label and times."""
    services = services_here()
    try:
        (row,) = watch_registration.register(services, [document], now=services.now())
    except ValidationError as error:
        refuse(422, "the watch was not registered", errors=_first(error))
    # Answer when every process knows the watch: a webhook a moment later already gets the label.
    gevent.sleep(KNOWN_AFTER_SECONDS)
    return row


@blueprint.route("/<ident>", methods=["GET"])
@needs(VIEWER)
@blueprint.doc(**_SECURITY)
@blueprint.response(200, WatchRow)
def show_watch(ident: str) -> dict[str, Any]:
    """Show one watch."""
    row = watch_registration.find(services_here(), ident)
    if row is None:
        refuse(404, "unknown watch; it may be settled")
    return row


@blueprint.route("/<ident>", methods=["DELETE"])
@needs(OPERATOR)
@blueprint.doc(**_SECURITY)
@blueprint.response(204)
def cancel_watch(ident: str) -> Response | None:
    """Stop watching. No event is published for this."""
    services = services_here()
    if not watch_registration.cancel(services, ident, now=services.now()):
        refuse(404, "unknown watch; it may be settled")
    return None


def _first(error: ValidationError) -> Any:
    messages: Any = error.messages
    return messages[0]
