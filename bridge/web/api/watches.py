"""`/api/v1/watches`: what operators expect, and everything else that is looked at again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gevent
from flask import Response
from marshmallow import Schema, ValidationError, fields, validate

from bridge import watch_registration
from bridge.polling.expectations import KNOWN_AFTER_SECONDS
from bridge.watch_registration import STATES, NewWatch, WatchRow, sound
from bridge.web.api import OPERATOR, VIEWER, needs, refuse, services_here
from bridge.web.api.bodies import ApiBlueprint

__all__ = ["blueprint"]

blueprint = ApiBlueprint("watches", __name__, url_prefix="/api/v1/watches", description="What is looked at again.")
_SECURITY: dict[str, Any] = {"security": [{"token": []}]}


class _Filter(Schema):
    source = fields.String(validate=sound, metadata={"description": "Only of this source."})
    state = fields.String(validate=validate.OneOf(STATES), metadata={"description": "Only in this state."})
    limit = fields.Integer(load_default=100, validate=validate.Range(1, 1000))


class _Page(Schema):
    watches = fields.List(fields.Nested(WatchRow))
    total = fields.Integer(metadata={"description": "How many there are, shown or not."})


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@blueprint.doc(**_SECURITY)
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, _Page)
def list_watches(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """List watches, the next to be looked at first."""
    services = services_here()
    name = wanted.get("source")
    if name is not None and name not in services.config.sources:
        refuse(404, f'"{name}" is no source')
    found = watch_registration.rows(services, [name] if name else list(services.config.sources))
    found = [row for row in found if wanted.get("state") in (None, row["state"])]
    return {"watches": found[: wanted["limit"]], "total": len(found)}


@blueprint.route("", methods=["POST"])
@needs(OPERATOR)
@blueprint.doc(**_SECURITY)
@blueprint.arguments(NewWatch)
@blueprint.response(201, WatchRow)
def add_watch(document: Mapping[str, Any]) -> dict[str, Any]:
    """Expect an attempt. Expecting the same again takes the new label and times."""
    services = services_here()
    try:
        (row,) = watch_registration.register(services, [document], now=services.now())
    except ValidationError as error:
        refuse(422, "this watch cannot be opened", errors=_first(error))
    # When the caller hears of it, every process knows it: a webhook a moment later carries the label.
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
        refuse(404, "no such watch; it may have been met")
    return row


@blueprint.route("/<ident>", methods=["DELETE"])
@needs(OPERATOR)
@blueprint.doc(**_SECURITY)
@blueprint.response(204)
def cancel_watch(ident: str) -> Response | None:
    """Look no longer. Nothing is announced."""
    services = services_here()
    if not watch_registration.cancel(services, ident, now=services.now()):
        refuse(404, "no such watch; it may have been met")
    return None


def _first(error: ValidationError) -> Any:
    messages: Any = error.messages
    return messages[0]
