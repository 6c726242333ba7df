"""`/api/v1/receipts`: receivers confirm over HTTP what they have processed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NoReturn

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.delivery.history import History
from bridge.delivery.receipts import TAKEN, UNKNOWN, UUID, Receipt, Receipts, read_receipt
from bridge.errors import Unreadable, clip
from bridge.web.api.auditing import audited, not_a_change
from bridge.web.api.bodies import BODY_ERRORS, ApiBlueprint
from bridge.web.api.common import RECEIVER, caller_here, needs, refuse, services_here
from bridge.web.api.description import described
from bridge.web.api.members import sound

__all__ = ["blueprint", "is_receipt"]

_PATH = "/api/v1/receipts"
#: Receipts in one call.
_MOST = 100
_EXAMPLE = {"subscription": "gradebook", "event_id": "7d0f3a1c-52b7-5d1e-9a65-0c9d7e3f2b11"}

blueprint = ApiBlueprint("receipts", __name__, url_prefix=_PATH, description="Confirming processed events.")


class NewReceipt(Schema):
    """One event that was processed."""

    subscription = fields.String(
        required=True, validate=[sound, validate.Length(1, 63)], metadata={"description": "Name of the subscription."}
    )
    event_id = fields.String(
        required=True,
        validate=validate.Regexp(rf"^{UUID.pattern}\Z", error="is not a UUID"),
        metadata={"description": "The event's id.", "pattern": f"^{UUID.pattern}$"},
    )


class NewReceipts(Schema):
    """Several events that were processed."""

    receipts = fields.List(
        fields.Nested(NewReceipt),
        required=True,
        validate=validate.Length(1, _MOST),
        metadata={"description": f"Up to {_MOST}; of one subscription or several."},
    )


class TakenReceipt(Schema):
    """A receipt that was accepted, now or before."""

    class Meta:
        unknown = EXCLUDE

    subscription = fields.String(required=True, metadata={"description": "Name of the subscription."})
    event_id = fields.String(required=True, metadata={"description": "The event's id, in lower case."})
    given_up = fields.Boolean(
        required=True,
        metadata={"description": "True: it came too late; the delivery had been given up or cancelled."},
    )


class TakenReceipts(Schema):
    """Receipts that were accepted, in the order of the call."""

    class Meta:
        unknown = EXCLUDE

    receipts = fields.List(fields.Nested(TakenReceipt), required=True)


def is_receipt(path: str) -> bool:
    """Whether receivers may call this address."""
    return path == _PATH or path.startswith(f"{_PATH}/")


@blueprint.route("", methods=["POST"])
@needs(RECEIVER)
@described(blueprint, "confirmEvent", HTTPStatus.NOT_FOUND, *BODY_ERRORS)
@blueprint.arguments(NewReceipt, example=_EXAMPLE)
@blueprint.response(200, TakenReceipt, description="The receipt is accepted")
def confirm_event(document: Mapping[str, Any]) -> dict[str, Any]:
    """Confirm an event

    The receiver has processed it: it is not sent again. Send this after the work is done, for copies too; repeating it
    changes nothing. 403: the token belongs to another subscription. 404: the event was never sent to the subscription,
    or longer ago than `bridge.retention.deliveries`.
    """
    receipt, now = _read(document, ""), services_here().now()
    outcome = _receipts().take(receipt, now=now)
    if outcome == UNKNOWN:
        _refuse_unknown({"event_id": receipt})
    _record([receipt])
    return _taken(receipt, outcome)


@blueprint.route("/batch", methods=["POST"])
@needs(RECEIVER)
@described(blueprint, "confirmEvents", HTTPStatus.NOT_FOUND, *BODY_ERRORS)
@blueprint.arguments(NewReceipts, example={"receipts": [_EXAMPLE]})
@blueprint.response(200, TakenReceipts, description="All of them are accepted")
def confirm_events(document: Mapping[str, Any]) -> dict[str, Any]:
    """Confirm several events

    Up to 100. 404: some were never sent; `problems` lists them, and none is accepted.
    """
    receipts = [_read(receipt, f"receipts.{number}.") for number, receipt in enumerate(document["receipts"])]
    store, now = _receipts(), services_here().now()
    places = {f"receipts.{number}.event_id": receipt for number, receipt in enumerate(receipts)}
    unknown = {place: receipt for place, receipt in places.items() if not store.is_known(receipt, now=now)}
    if unknown:
        _refuse_unknown(unknown)
    taken = [_taken(receipt, store.take(receipt, now=now)) for receipt in receipts]
    _record(receipts)
    return {"receipts": taken}


def _receipts() -> Receipts:
    services = services_here()
    history = History(services.state, partitions=services.config.bridge.partitions)
    return Receipts(services.deliveries, history, services.event_index)


def _taken(receipt: Receipt, outcome: str) -> dict[str, Any]:
    # A receipt for a delivery that was deleted for its age a moment ago came too late as well.
    return {
        "subscription": receipt.subscription,
        "event_id": receipt.event_id,
        "given_up": outcome != TAKEN,
    }


def _read(document: Mapping[str, Any], place: str) -> Receipt:
    """Read one receipt as strictly as one in the queue. Refuses any other, and one for another's subscription."""
    caller, name = caller_here(), document["subscription"]
    if caller is not None and caller.role == RECEIVER and name != caller.subscription:
        # Before the name is looked up: a receiver must not learn which other subscriptions there are.
        refuse(403, f"token {caller.name} is not for subscription {clip(name, 70)}. Remedy: use its own token")
    try:
        return read_receipt(document, services_here().config.subscriptions)
    except Unreadable as error:
        member = f"{place}subscription" if error.reason == "unknown_subscription" else place.rstrip(".")
        refuse(422, str(error), errors={member: [str(error)]})


def _refuse_unknown(unknown: Mapping[str, Receipt]) -> NoReturn:
    problems = {place: [f"never sent to {receipt.subscription}"] for place, receipt in unknown.items()}
    first = next(iter(unknown.values()))
    what = f"event {first.event_id} was" if len(unknown) == 1 else f"{len(unknown)} events were"
    refuse(404, f"{what} never sent to its subscription, or longer ago than bridge.retention.deliveries", problems)


def _record(receipts: list[Receipt]) -> None:
    """Audit them if an operator stands in for a receiver: receivers' would fill it, and show in their deliveries."""
    caller = caller_here()
    if caller is not None and caller.role == RECEIVER:
        not_a_change()
        return
    counts = Counter(receipt.subscription for receipt in receipts)
    if len(receipts) == 1:
        audited(f"delivery {receipts[0].subscription}/{receipts[0].event_id}", after={"confirmed": True})
    else:
        audited("deliveries", after={"confirmed": dict(counts)})
