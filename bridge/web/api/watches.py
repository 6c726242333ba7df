"""`/api/v1/watches`: expected attempts, and all others that are rechecked."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import gevent
from flask import Response
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from bridge import watch_registration
from bridge.polling.expectations import KNOWN_AFTER_SECONDS
from bridge.watch_registration import STATES, NewWatch, WatchRow, sound
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, needs, refuse, services_here
from bridge.web.api.description import described

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "watches", __name__, url_prefix="/api/v1/watches", description="Attempts that are rechecked or expected."
)


#: A body of `addWatch`, for the description.
_EXPECTED = {
    "source": "exams",
    "reference": {"schedule": "SPRING-07", "candidate": "cand-20417"},
    "due": "2099-12-01T12:00:00Z",
    "deadline": "2099-12-03",
    "label": "order-4711",
}
#: How the operations on one watch take its id from an answer.
_ITSELF = {"parameters": {"ident": "$response.body#/id"}}


class _Filter(Schema):
    source = fields.String(validate=sound, metadata={"description": "Filter by source."})
    state = fields.String(validate=validate.OneOf(STATES), metadata={"description": "Filter by state."})
    limit = fields.Integer(
        load_default=100, validate=validate.Range(1, 1000), metadata={"description": "Maximum number of watches."}
    )


class WatchPage(Schema):
    """Watches, overdue ones first."""

    class Meta:
        unknown = EXCLUDE

    watches = fields.List(fields.Nested(WatchRow), required=True)
    total = fields.Integer(required=True, metadata={"description": "Number of all matching watches."})


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listWatches", HTTPStatus.NOT_FOUND)
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, WatchPage, description="The watches that match")
def list_watches(query: Mapping[str, Any]) -> dict[str, Any]:
    """List watches

    Overdue ones come first, then the others by their next recheck. 404: the source is unknown.
    """
    services = services_here()
    name = query.get("source")
    if name is not None and name not in services.config.sources:
        refuse(404, f'unknown source: "{name}"')
    sources = [name] if name else list(services.config.sources)
    rows, total = watch_registration.rows(services, sources, state=query.get("state"), limit=query["limit"])
    return {"watches": rows, "total": total}


@blueprint.route("", methods=["POST"])
@needs(OPERATOR)
@described(
    blueprint,
    "addWatch",
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    answers={201: {"links": {name: _ITSELF | {"operationId": name} for name in ("showWatch", "cancelWatch")}}},
)
@blueprint.arguments(NewWatch, example=_EXPECTED)
@blueprint.response(201, WatchRow, description="Registered")
def add_watch(document: Mapping[str, Any]) -> dict[str, Any]:
    """Expect an attempt

    The bridge rechecks it from `due` until `deadline`, publishes it with your label, and announces `attempt.overdue`
    if it has not come. Registering the same attempt again replaces its label and times.
    """
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
@described(blueprint, "showWatch", HTTPStatus.NOT_FOUND)
@blueprint.response(200, WatchRow, description="The watch")
def show_watch(ident: str) -> dict[str, Any]:
    """Show one watch

    404: there is no such watch; a watch whose attempt has come is gone.
    """
    row = watch_registration.find(services_here(), ident)
    if row is None:
        refuse(404, "unknown watch; it may be settled")
    return row


@blueprint.route("/<ident>", methods=["DELETE"])
@needs(OPERATOR)
@described(blueprint, "cancelWatch", HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
@blueprint.response(204, description="No longer watched")
def cancel_watch(ident: str) -> Response | None:
    """Stop watching an attempt

    No event is published for this. An attempt that comes later is still published, without a label.
    """
    if watch_registration.cancel(services_here(), [ident]):
        refuse(404, "unknown watch; it may be settled")
    return None


def _first(error: ValidationError) -> Any:
    messages: Any = error.messages
    return messages[0]
