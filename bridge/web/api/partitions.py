"""`/api/v1/partitions`: over how many partitions attempts are spread, and the change of that number."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from marshmallow import Schema, fields, validate

from bridge.services import Services
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.layout import LAYOUT
from bridge.state.repartition import DONE, NEVER, RUNNING, STOPPED, Move, Repartition
from bridge.state.running import RunningProcesses
from bridge.web.api.auditing import audited
from bridge.web.api.bodies import BODY_ERRORS, ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, needs, refuse, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import iso
from bridge.web.api.members import shown_time

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "partitions", __name__, url_prefix="/api/v1/partitions", description="The partitions of journal and memory."
)
_EXAMPLE = {"partitions": 4}


class PartitionRow(Schema):
    """One partition."""

    partition = fields.Integer(required=True, metadata={"description": "Its number, from 0."})
    remembered = fields.Integer(required=True, metadata={"description": "Attempts and notices remembered."})
    events = fields.Integer(required=True, metadata={"description": "Events in its journal."})
    requests = fields.Integer(required=True, metadata={"description": "Stored requests."})


class PartitionsShape(Schema):
    """How attempts are spread, and how far a change of that has come."""

    partitions = fields.Integer(
        required=True, metadata={"description": "Number of partitions over which attempts are spread."}
    )
    served = fields.Integer(
        required=True, metadata={"description": "How many the processes serve: `bridge.partitions` of bridge.yaml."}
    )
    state = fields.String(
        required=True,
        validate=validate.OneOf((NEVER, RUNNING, STOPPED, DONE)),
        metadata={"description": "State of the last change of the number; `never`: there was none."},
    )
    before = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "While memories move: the previous number, otherwise null."},
    )
    moved = fields.Integer(required=True, metadata={"description": "Memories moved by the last change."})
    progress = fields.Float(required=True, metadata={"description": "Share of the memory that has been gone through."})
    begun = shown_time("When the last change began; null: never.", allow_none=True)
    seen = shown_time("When it last made progress; null: never.", allow_none=True)
    rows = fields.List(fields.Nested(PartitionRow), required=True, metadata={"description": "Each partition."})


class NewPartitions(Schema):
    """Over how many partitions to spread attempts."""

    partitions = fields.Integer(
        required=True, strict=True, validate=validate.Range(1, 64), metadata={"description": "Their number."}
    )


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showPartitions")
@blueprint.response(200, PartitionsShape, description="The partitions")
def show_partitions() -> dict[str, Any]:
    """Show the partitions

    With what each holds, and with the progress of a change of their number.
    """
    return _shown(services_here())


@blueprint.route("", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "changePartitions", *BODY_ERRORS, HTTPStatus.CONFLICT)
@blueprint.arguments(NewPartitions, example=_EXAMPLE)
@blueprint.response(200, PartitionsShape, description="The partitions")
def change_partitions(document: Mapping[str, Any]) -> dict[str, Any]:
    """Spread attempts over a different number of partitions

    From now on; a dispatch process moves what is remembered. Everything keeps running meanwhile. Events stay where they
    were published. 409: an earlier change is not done, or a running process does not serve that many.
    """
    services, number = services_here(), document["partitions"]
    store, before = _store(services), _store(services).read()
    _refuse_too_many(services, number)
    if number == before.partitions and before.before is None and _layout(services) == LAYOUT:
        refuse(409, f"attempts are spread over {number} partitions already. Give another number")
    if not store.begin(number, now=services.now()):
        refuse(409, "an earlier change is not done. If it is stopped, attempt-bridge partitions resume")
    audited("partitions", before={"partitions": before.partitions}, after={"partitions": number})
    return _shown(services)


@blueprint.route("/stop", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "stopPartitions", HTTPStatus.CONFLICT)
@blueprint.response(200, PartitionsShape, description="The partitions")
def stop_partitions() -> dict[str, Any]:
    """Stop moving what is remembered

    After the current batch. Attempts are spread over the new number nevertheless: what an attempt needs moves when it
    is published. 409: nothing is moving.
    """
    return _changed(RUNNING, STOPPED, "nothing is moving. See it with attempt-bridge partitions show")


@blueprint.route("/resume", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "resumePartitions", HTTPStatus.CONFLICT)
@blueprint.response(200, PartitionsShape, description="The partitions")
def resume_partitions() -> dict[str, Any]:
    """Resume moving what is remembered

    From where it was stopped. 409: it is not stopped.
    """
    return _changed(STOPPED, RUNNING, "nothing is stopped. See it with attempt-bridge partitions show")


def _changed(state: str, to: str, otherwise: str) -> dict[str, Any]:
    services = services_here()
    if not _store(services).change(state, to):
        refuse(409, otherwise)
    audited("partitions", before={"state": state}, after={"state": to})
    return _shown(services)


def _store(services: Services) -> Repartition:
    return Repartition(services.state, configured=services.config.bridge.partitions)


def _layout(services: Services) -> int:
    with state_errors():
        return int(services.state.hget(keys.BRIDGE, "layout") or 0)


def _refuse_too_many(services: Services, number: int) -> None:
    served = services.config.bridge.partitions
    remedy = f"Set bridge.partitions: {number} in bridge.yaml, start every process again, and repeat this"
    if number > served:
        refuse(409, f"bridge.partitions is {served}: no process serves more. {remedy}")
    with state_errors():
        running = RunningProcesses(services.state).read(services.now())
    others = [each.process for each in running if each.digest != services.config.digest]
    if others:
        refuse(409, f"{', '.join(others)} runs with another bridge.yaml. Start it again, and repeat this")
    old = [each.process for each in running if LAYOUT not in each.layouts]
    if old:
        refuse(409, f"{', '.join(old)} of an earlier version cannot work with layout {LAYOUT}. Replace it first")


def _shown(services: Services) -> dict[str, Any]:
    move, served = _store(services).read(), services.config.bridge.partitions
    numbers = range(max(move.width, served))
    with state_errors():
        pipe = services.state.pipeline(transaction=False)
        for number in numbers:
            pipe.hmget(keys.seen(number), ["n", "b"])
            pipe.xlen(keys.journal(number))
            pipe.xlen(keys.requests(number))
        answers = pipe.execute()
    sizes = [(int(held or 0), int(buckets or 1)) for held, buckets in answers[::3]]
    return {
        "partitions": move.partitions,
        "served": served,
        "state": move.state,
        "before": move.before,
        "moved": move.moved,
        "progress": _progress(move, [buckets for _, buckets in sizes]),
        "begun": iso(move.begun),
        "seen": iso(move.seen),
        "rows": [
            {"partition": number, "remembered": sizes[number][0], "events": events, "requests": requests}
            for number, events, requests in zip(numbers, answers[1::3], answers[2::3], strict=True)
        ],
    }


def _progress(move: Move, buckets: list[int]) -> float:
    if move.before is None:
        return 1.0
    passed = sum(buckets[: move.partition]) + move.bucket
    return round(min(passed / sum(buckets[: move.before]), 1.0), 4)
