"""`/api/v1/health`: the parts of the bridge, and what `attempt-bridge doctor` finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import redis
from marshmallow import EXCLUDE, Schema, fields, validate

from bridge import __version__, clock
from bridge.config.addresses import without_user
from bridge.errors import StateUnavailable
from bridge.monitoring.doctor import FAILURE, OK, WARNING, Finding, examine
from bridge.monitoring.server_facts import read_server_facts
from bridge.net.tls import describe
from bridge.runtime.processes import PARTS
from bridge.services import Services
from bridge.state.errors import state_errors
from bridge.state.running import RunningProcesses, last_beats
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, needs, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import iso
from bridge.web.api.members import shown_time
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
        metadata={"description": "Last heartbeat of any of its processes; null: none recently."},
    )


class Check(Schema):
    """One check."""

    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True, metadata={"description": "What was checked."})
    status = _status("`failure`: must be fixed.")
    text = fields.String(required=True, metadata={"description": "The fact."})
    remedy = fields.String(required=True, metadata={"description": "What to do; empty: nothing."})
    unreachable = fields.Boolean(required=True, metadata={"description": "Whether a server could not be reached."})


class Process(Schema):
    """One running process of the bridge."""

    class Meta:
        unknown = EXCLUDE

    process = fields.String(required=True, metadata={"description": "Part, host and process id: `web:host:4711`."})
    part = fields.String(
        required=True,
        metadata={"description": "`web`, `worker`, `beat` or `dispatch`; or a command, `backfill` or `reconcile`."},
    )
    configuration = fields.String(required=True, metadata={"description": "Number of the configuration that it uses."})
    loaded_at = shown_time("When it loaded that configuration.")
    seen_at = shown_time("When it last reported this.")
    version = fields.String(
        required=True, allow_none=True, metadata={"description": "Its version of the bridge; null: an earlier one."}
    )
    layouts = fields.List(
        fields.Integer(), required=True, metadata={"description": "Layouts of the state that it can work with."}
    )
    outcome = fields.String(
        required=True,
        metadata={"description": "Of the last reload: `loaded`, `unchanged`, `restarting`, or why it was refused."},
    )


class StateServer(Schema):
    """A state server, as it describes itself."""

    class Meta:
        unknown = EXCLUDE

    address = fields.String(required=True, metadata={"description": "Without user and password."})
    product = fields.String(required=True, metadata={"description": "`redis`, `valkey` or another."})
    version = fields.String(required=True, metadata={"description": "Its own version."})
    uptime = fields.Float(required=True, metadata={"description": "Seconds since it started."})
    memory_bytes = fields.Integer(required=True, metadata={"description": "Memory that it uses."})
    memory_limit_bytes = fields.Integer(required=True, metadata={"description": "`maxmemory`; 0: no limit."})
    policy = fields.String(required=True, metadata={"description": "`maxmemory-policy`; must be `noeviction`."})
    append_only = fields.Boolean(required=True, metadata={"description": "Whether it writes an append-only file."})
    append_fsync = fields.String(
        required=True, allow_none=True, metadata={"description": "`appendfsync`; null: unknown."}
    )
    last_write_ok = fields.Boolean(required=True, metadata={"description": "Whether its last write to disk succeeded."})
    clients = fields.Integer(required=True, metadata={"description": "Open connections."})
    clock_offset = fields.Float(required=True, metadata={"description": "Seconds by which its clock is ahead of ours."})


class BrokerRow(Schema):
    """The bridge's own broker. `attempt-bridge doctor` connects to it."""

    class Meta:
        unknown = EXCLUDE

    address = fields.String(required=True, metadata={"description": "Without user and password."})
    protection = fields.String(required=True, metadata={"description": "How the connection is protected."})


class Health(Schema):
    """The state of the whole bridge."""

    class Meta:
        unknown = EXCLUDE

    status = _status("The worst of all findings.")
    version = fields.String(required=True, metadata={"description": "Version of the bridge that answers."})
    configuration = fields.String(
        required=True, metadata={"description": "Number of the configuration of the process that answers."}
    )
    parts = fields.List(fields.Nested(Part), required=True)
    processes = fields.List(fields.Nested(Process), required=True)
    state_servers = fields.List(
        fields.Nested(StateServer),
        required=True,
        metadata={"description": "Those that answer: one, or primaries of a cluster."},
    )
    broker = fields.Nested(BrokerRow, required=True, metadata={"description": "The bridge's own broker."})
    findings = fields.List(fields.Nested(Check), required=True, metadata={"description": "One for each check."})


class _Asked(Schema):
    about = fields.String(
        validate=validate.OneOf(("bridge",)),
        metadata={"description": "`bridge`: no findings about each source and subscription, which may be many."},
    )


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showHealth")
@blueprint.arguments(_Asked, location="query")
@blueprint.response(200, Health, description="Parts and findings")
def show_health(query: Mapping[str, Any]) -> dict[str, Any]:
    """Show what would lose events, and how to fix it

    The parts and their processes, the state server, and the findings of `attempt-bridge doctor` that need no connection
    to brokers and receivers. 200 whatever was found: see `status`.
    """
    services = services_here()
    findings = list(examine(services, outward=False, each="about" not in query))
    worst = next((status for status in (FAILURE, WARNING) if any(finding.status == status for finding in findings)), OK)
    return {
        "status": worst,
        "version": __version__,
        "configuration": services.config.digest,
        "parts": _parts(services),
        "processes": _processes(services),
        "state_servers": _state_servers(services),
        "broker": {"address": without_user(services.broker_url), "protection": describe(services.broker_url)},
        "findings": [_row(finding) for finding in findings],
    }


def _row(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in Check._declared_fields}


def _parts(services: Services) -> list[dict[str, Any]]:
    try:
        with state_errors():
            beats = last_beats(services.state, PARTS)
    except StateUnavailable:
        # The findings report it.
        beats = [None for _ in PARTS]
    return [{"name": name, "heartbeat_at": _moment(beat)} for name, beat in zip(PARTS, beats, strict=True)]


def _processes(services: Services) -> list[dict[str, Any]]:
    try:
        with state_errors():
            running = RunningProcesses(services.state).read(services.now())
    except StateUnavailable:
        return []
    return [
        {
            "process": each.process,
            "part": each.name,
            "configuration": each.digest,
            "loaded_at": iso(each.loaded_at),
            "seen_at": iso(each.seen_at),
            "version": each.version or None,
            "layouts": list(each.layouts),
            "outcome": each.outcome,
        }
        for each in running
    ]


def _state_servers(services: Services) -> list[dict[str, Any]]:
    try:
        facts = read_server_facts(services.state, services.now)
    except StateUnavailable:
        return []
    own = without_user(services.state_url)
    return [{"address": address or own, **asdict(each)} for address, each in facts.items()]


def _moment(beat: bytes | redis.RedisError | None) -> str | None:
    try:
        return format_time(clock.to_datetime(float(beat))) if isinstance(beat, bytes) else None
    except (ValueError, OverflowError):
        return None
