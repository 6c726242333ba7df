"""`/api/v1/deliveries`: handing events to subscriptions, with every try that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NoReturn

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.delivery.history import History
from bridge.delivery.listing import OF_EVENT, Position
from bridge.delivery.rows import STATES, DeliveryRow, delivery_fields
from bridge.delivery.store import AWAITING_RECEIPT, BEING_SENT, DONE
from bridge.delivery.tries import LoggedTry
from bridge.delivery.views import ListQuery, find, list_deliveries
from bridge.errors import clip
from bridge.web.api.auditing import audited
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, mask_persons, needs, refuse, sees_persons, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import FilteredPage, FilteredQuery, iso, query_of, without_addresses
from bridge.web.api.members import shown_time, sound
from bridge.web.api.paging import cursor_of, position_of, refuse_cursor
from bridge.web.api.subscription_names import known_subscription, subscription_names

__all__ = ["DeliveryDetails", "TryRow", "blueprint", "delivery_details", "try_row"]

blueprint = ApiBlueprint(
    "deliveries", __name__, url_prefix="/api/v1/deliveries", description="Handing events to subscriptions."
)
_FIELDS = {persons: delivery_fields(persons=persons) for persons in (False, True)}
_REMEDY = "It has not been tried yet, or is older than bridge.retention.deliveries"
_ENDED_TEXT = {"delivered": "delivered", "cancelled": "cancelled", "dead": "given up; replay its dead letter"}


class _Filter(FilteredQuery):
    subscription = fields.String(validate=sound, metadata={"description": "Filter by subscription."})
    state = fields.String(validate=validate.OneOf(STATES), metadata={"description": "Filter by state."})
    source = fields.String(validate=sound, metadata={"description": "Filter by source."})
    attempt = fields.String(validate=sound, metadata={"description": "Filter by attempt."})
    event = fields.String(
        validate=[sound, validate.Length(1, 300)], metadata={"description": "The event's id; needs no search."}
    )


class TryRow(Schema):
    """One try."""

    class Meta:
        unknown = EXCLUDE

    at = shown_time("When it began.")
    seconds = fields.Float(required=True, metadata={"description": "How long it took."})
    status = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Status of the HTTP answer; null without one."}
    )
    reason = fields.String(required=True, metadata={"description": "Why it failed, a fixed word; empty: it did not."})
    error = fields.String(required=True, metadata={"description": "The error in one line; empty: there was none."})
    answer = fields.String(
        required=True,
        metadata={"description": "The beginning of the answer, at most 1 kB; viewers get `***` for it."},
    )


class DeliveryShape(Schema):
    """One delivery."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "Subscription and event id, with a slash between."})
    subscription = fields.String(required=True, metadata={"description": "Name of the subscription."})
    event_id = fields.String(required=True, metadata={"description": "The event's id."})
    type = fields.String(required=True, metadata={"description": "Type of the event."})
    source = fields.String(required=True, metadata={"description": "Name of its source."})
    attempt = fields.String(required=True, metadata={"description": "Id of its attempt."})
    state = fields.String(required=True, metadata={"description": f"One of: {', '.join(STATES)}."})
    tries = fields.Integer(required=True, metadata={"description": "Tries made, at most 255 once it has ended."})
    at = shown_time("Last try, or when it ended; null before the first try.", allow_none=True)
    next_try = shown_time("Next try, or until when its receipt is awaited.", allow_none=True)
    reason = fields.String(required=True, metadata={"description": "Why the last try failed; empty: none failed."})
    error = fields.String(required=True, metadata={"description": "Its error in one line."})
    group = fields.String(required=True, metadata={"description": "Its failure group; empty: it is in none."})
    dead_letter = fields.String(
        required=True, allow_none=True, metadata={"description": "Id of its dead letter; null: it has none."}
    )
    confirmed = fields.Boolean(required=True, metadata={"description": "Whether a receipt has confirmed it."})
    replays = fields.Integer(required=True, metadata={"description": "How often it was replayed."})


class DeliveryDetails(DeliveryShape):
    """One delivery with its tries."""

    log = fields.List(
        fields.Nested(TryRow),
        required=True,
        metadata={"description": "The tries that are kept, oldest first: the first one and the last ones."},
    )


class DeliveryPage(FilteredPage):
    """Deliveries: under way by next try, then ended, newest first."""

    deliveries = fields.List(fields.Nested(DeliveryShape), required=True)


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listDeliveries")
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, DeliveryPage, description="The deliveries that match")
def list_all(query: Mapping[str, Any]) -> dict[str, Any]:
    """List deliveries

    Those under way first, by subscription and next try, then those that have ended, newest first; those of one `event`
    by subscription. Events that have not been tried yet are listed only with `state=waiting`. Deliveries that have
    ended are kept for `bridge.retention.deliveries`, dead letters for `bridge.retention.dead_letters`.
    """
    services, persons = services_here(), sees_persons()
    name = query.get("subscription")
    position = position_of("deliveries", query)
    try:
        after = None if position is None else Position.parse(position[0])
    except (ValueError, RecursionError):
        refuse_cursor("is not a cursor of deliveries")
    if after is not None and (after.part == OF_EVENT) != ("event" in query):
        refuse_cursor("is of deliveries with another filter")
    asked = ListQuery(
        subscriptions=subscription_names() if name is None else [known_subscription(name)],
        query=query_of(query, _FIELDS[persons]),
        states=frozenset({query["state"]} if "state" in query else ()),
        event_id=query.get("event"),
        source=query.get("source"),
        attempt=query.get("attempt"),
        after=after,
        limit=query["limit"],
    )
    partitions = services.config.bridge.partitions
    page = list_deliveries(services.state, partitions, asked, services.config.subscriptions)
    return {
        "deliveries": [_row(row) for row in page.rows],
        "next": None if page.position is None else cursor_of("deliveries", str(page.position)),
        "searched_until": iso(page.searched_until),
    }


@blueprint.route("/<subscription>/<event_id>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showDelivery", HTTPStatus.NOT_FOUND)
@blueprint.response(200, DeliveryDetails, description="The delivery")
def show(subscription: str, event_id: str) -> dict[str, Any]:
    """Show one delivery

    The last one of this event to this subscription, with its tries. 404: there is none: the event has not been tried
    yet, or the delivery is older than `bridge.retention.deliveries`.
    """
    return _known(subscription, event_id)


@blueprint.route("/<subscription>/<event_id>/retry", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "retryDelivery", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
@blueprint.response(200, DeliveryDetails, description="Due now")
def retry(subscription: str, event_id: str) -> dict[str, Any]:
    """Try a delivery again now

    Its next try is due now; an open circuit or a pause still holds it back. 409: it has ended, is being sent, or awaits
    its receipt.
    """
    services = services_here()
    before = _known(subscription, event_id)
    answer = services.deliveries.retry_one(subscription, event_id, now=services.now())
    if answer != DONE:
        _refuse_action(answer, before)
    after = _known(subscription, event_id)
    audited(_target(before), before={"next_try": before["next_try"]}, after={"next_try": after["next_try"]})
    return after


@blueprint.route("/<subscription>/<event_id>/cancel", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "cancelDelivery", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
@blueprint.response(200, DeliveryDetails, description="Cancelled")
def cancel(subscription: str, event_id: str) -> dict[str, Any]:
    """Give a delivery up

    It is never tried again and leaves no dead letter. 409: it has ended, or is being sent.
    """
    services = services_here()
    before = _known(subscription, event_id)
    answer = services.deliveries.cancel(subscription, event_id, now=services.now())
    if answer != DONE:
        _refuse_action(answer, before)
    audited(_target(before), before={"state": before["state"]}, after={"state": "cancelled"})
    return _known(subscription, event_id)


def _known(subscription: str, event_id: str) -> dict[str, Any]:
    services = services_here()
    history = History(services.state, partitions=services.config.bridge.partitions)
    delivery = find(services.deliveries, history, subscription, event_id) if sound_id(subscription, event_id) else None
    if delivery is None:
        refuse(404, f"unknown delivery: {clip(subscription, 40)}/{clip(event_id, 40)}. {_REMEDY}")
    return delivery_details(*delivery)


def sound_id(subscription: str, event_id: str) -> bool:
    """Whether a key can hold both: an address may contain anything."""
    return (subscription + event_id).isprintable() and len(subscription) + len(event_id) < 500


def _refuse_action(answer: str, before: Mapping[str, Any]) -> NoReturn:
    what = f"delivery {before['id']}"
    if answer == BEING_SENT:
        refuse(409, f"{what} is being sent. Remedy: repeat this when the try has ended")
    if answer == AWAITING_RECEIPT:
        refuse(409, f"{what} awaits its receipt until {before['next_try']}. Remedy: cancel it, or wait")
    refuse(409, f"{what} has ended: {_ENDED_TEXT.get(before['state'], 'while this call was made')}")


def _target(row: Mapping[str, Any]) -> str:
    return f"delivery {row['id']}"


def delivery_details(row: DeliveryRow, tries: Sequence[LoggedTry]) -> dict[str, Any]:
    """One delivery with its tries, as the API shows it to the caller."""
    return {**_row(row), "log": [try_row(tried) for tried in tries]}


def _row(row: DeliveryRow) -> dict[str, Any]:
    shown = {
        "id": f"{row.subscription}/{row.event_id}",
        "subscription": row.subscription,
        "event_id": row.event_id,
        "type": row.type,
        "source": row.source,
        "attempt": row.attempt,
        "state": row.state,
        "tries": row.tries,
        "at": iso(row.at),
        "next_try": iso(row.next_try),
        "reason": row.reason,
        "error": row.error,
        "group": row.group,
        "dead_letter": row.dead_letter,
        "confirmed": row.confirmed,
        "replays": row.replays,
    }
    return shown if sees_persons() else without_addresses(shown)


def try_row(tried: LoggedTry) -> dict[str, Any]:
    """One try as shown: callers who may not see persons get neither its answer nor addresses in its error."""
    row = {
        "at": iso(tried.at),
        "seconds": tried.seconds,
        "status": tried.status,
        "reason": tried.reason,
        "error": tried.error,
        "answer": tried.answer,
    }
    shown = row if sees_persons() else without_addresses(row)
    return mask_persons(shown, "answer") if tried.answer else shown
