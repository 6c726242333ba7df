"""`/api/v1/fields`: the fields that filters of lists may use, for whoever suggests them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from marshmallow import EXCLUDE, Schema, fields

from bridge.audit import audit_fields
from bridge.delivery.letters import letter_fields
from bridge.delivery.rows import delivery_fields
from bridge.delivery.try_feed import try_fields
from bridge.errors import clip
from bridge.journal.event_fields import event_fields
from bridge.journal.request_fields import request_fields
from bridge.query import Boolean, Enum, Field, Fields, Glob
from bridge.text import did_you_mean
from bridge.web.api import quarantine
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, needs, refuse, sees_persons, services_here
from bridge.web.api.description import described
from bridge.web.api.subscription_names import subscription_names

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "fields", __name__, url_prefix="/api/v1/fields", description="What the filters of lists may name."
)

#: Resource -> its fields; `persons`: for callers who may see persons.
_RESOURCES: Mapping[str, Callable[[bool], Fields]] = {
    "attempts": lambda persons: event_fields(persons=persons),
    "events": lambda persons: event_fields(persons=persons),
    "requests": lambda persons: request_fields(persons=persons),
    "deliveries": lambda persons: delivery_fields(persons=persons),
    "dead-letters": lambda persons: letter_fields(persons=persons),
    "quarantine": lambda _: quarantine.FIELDS,
    "tries": lambda _: try_fields(),
    "audit": lambda _: audit_fields(),
}


class FilterField(Schema):
    """One field of a filter."""

    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True, metadata={"description": "What is written before the colon."})
    meaning = fields.String(required=True, metadata={"description": "What it is."})
    syntax = fields.String(required=True, metadata={"description": "How its values are written."})
    values = fields.List(
        fields.String(), required=True, metadata={"description": "The values that exist; empty: they are not listed."}
    )


class FilterFields(Schema):
    """The fields of a list."""

    class Meta:
        unknown = EXCLUDE

    fields_ = fields.List(
        fields.Nested(FilterField),
        required=True,
        data_key="fields",
        metadata={"description": "In the order of the list."},
    )


@blueprint.route("/<resource>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listFilterFields", HTTPStatus.NOT_FOUND)
@blueprint.response(200, FilterFields, description="The fields")
def list_filter_fields(resource: str) -> dict[str, Any]:
    """List the fields of a filter

    Of the list `resource`: attempts, events, requests, deliveries, dead-letters, quarantine or audit.
    """
    declared = _RESOURCES.get(resource)
    if declared is None:
        refuse(404, f'unknown list: "{clip(resource, 40)}". {did_you_mean(resource, _RESOURCES)}')
    return {"fields_": [_row(field) for field in declared(sees_persons()).by_name.values()]}


def _row(field: Field) -> dict[str, Any]:
    return {"name": field.name, "meaning": field.meaning, "syntax": field.kind.syntax, "values": _values(field)}


def _values(field: Field) -> Sequence[str]:
    if field.name == "source":
        return list(services_here().config.sources)
    if field.name == "subscription":
        return subscription_names()
    if isinstance(field.kind, Boolean):
        return ["true", "false"]
    if isinstance(field.kind, Enum):
        return field.kind.values
    return sorted(field.kind.known) if isinstance(field.kind, Glob) else []
