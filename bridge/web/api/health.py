"""`/api/v1/health`: the parts of the bridge, and what `attempt-bridge doctor` finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge import clock
from bridge.errors import StateUnavailable
from bridge.monitoring.doctor import FAILURE, OK, WARNING, Finding, examine
from bridge.runtime.processes import PARTS
from bridge.services import Services
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, needs, services_here
from bridge.web.api.description import described
from schemas.event import format_time

__all__ = ["blueprint"]

blueprint = ApiBlueprint("health", __name__, url_prefix="/api/v1/health", description="What would lose events.")


def _status(description: str) -> fields.String:
    return fields.String(
        required=True, validate=validate.OneOf((OK, WARNING, FAILURE)), metadata={"description": description}
    )


class Part(Schema):
    """One part of the bridge, of which several processes may run."""

    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True, metadata={"description": "`web`, `worker`, `beat` or `dispatch`."})
    heartbeat_at = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Last heartbeat of any of its processes; null: none of late."},
    )


class Check(Schema):
    """One check."""

    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True, metadata={"description": "What was checked."})
    status = _status("`failure`: must be fixed.")
    text = fields.String(required=True, metadata={"description": "The fact."})
    remedy = fields.String(required=True, metadata={"description": "What to do; empty where nothing is to be done."})
    unreachable = fields.Boolean(required=True, metadata={"description": "Whether a server could not be reached."})


class Health(Schema):
    """The state of the whole bridge."""

    class Meta:
        unknown = EXCLUDE

    status = _status("The worst of all findings.")
    parts = fields.List(fields.Nested(Part), required=True)
    findings = fields.List(fields.Nested(Check), required=True, metadata={"description": "One for each check."})


class _Asked(Schema):
    about = fields.String(
        validate=validate.OneOf(("bridge",)),
        metadata={"description": "`bridge`: no findings about single sources and subscriptions, which may be many."},
    )


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showHealth")
@blueprint.arguments(_Asked, location="query")
@blueprint.response(200, Health, description="Parts and findings")
def show_health(query: Mapping[str, Any]) -> dict[str, Any]:
    """Show what would lose events, and how to fix it

    The parts, and the findings of `attempt-bridge doctor` that need no connection to brokers and receivers. 200
    whatever was found: `status` says it.
    """
    services = services_here()
    findings = list(examine(services, outward=False, each="about" not in query))
    worst = next((status for status in (FAILURE, WARNING) if any(one.status == status for one in findings)), OK)
    return {"status": worst, "parts": _parts(services), "findings": [_row(finding) for finding in findings]}


def _row(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in Check._declared_fields}


def _parts(services: Services) -> list[dict[str, Any]]:
    try:
        with state_errors():
            beats = cast("list[bytes | None]", services.state.mget([keys.heartbeat(name) for name in PARTS]))
    except StateUnavailable:
        # The findings say so.
        beats = [None] * len(PARTS)
    return [{"name": name, "heartbeat_at": _moment(beat)} for name, beat in zip(PARTS, beats, strict=True)]


def _moment(beat: bytes | None) -> str | None:
    try:
        return None if beat is None else format_time(clock.to_datetime(float(beat)))
    except (ValueError, OverflowError):
        return None
