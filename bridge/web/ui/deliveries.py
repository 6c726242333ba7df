"""Handing events to subscriptions: the list, and one delivery with every try."""

from __future__ import annotations

from flask import Response

from bridge.web.ui.actions import ACTIONS, Action, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.facets import values_of
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("deliveries", __name__, "deliveries")

_LISTING = Listing("deliveries", "deliveries", fields="deliveries")
_STATES = ("waiting", "retrying", "awaiting_receipt", "delivered", "dead", "cancelled")
#: State of a delivery -> what can be done with it.
_POSSIBLE = {"retrying": ("retry", "cancel"), "awaiting_receipt": ("cancel",)}

add_actions(
    Action(
        name="retry-delivery",
        path="deliveries/{subscription}/{event_id}/retry",
        label="Retry now",
        explains="Makes its next try due now. An open circuit or a pause still holds it back.",
        command="attempt-bridge deliveries retry {subscription}/{event_id}",
        done=lambda fields, _: f"{fields['subscription']}/{fields['event_id']} is due now",
    ),
    Action(
        name="cancel-delivery",
        path="deliveries/{subscription}/{event_id}/cancel",
        label="Cancel",
        explains="Gives the delivery up: it is never tried again and leaves no dead letter.",
        command="attempt-bridge deliveries cancel {subscription}/{event_id}",
        done=lambda fields, _: f"{fields['subscription']}/{fields['event_id']} is cancelled",
        is_danger=True,
    ),
)


@blueprint.get("")
def show_list() -> Response:
    """The list: under way by next try, then those that have ended, newest first."""
    facets = {
        "State": [f"state:{state}" for state in _STATES],
        "Subscription": values_of("deliveries", "subscription"),
    }
    kept = ("subscription", "state", "source", "attempt", "event")
    return render_page("deliveries.html", title="Deliveries", shown=read_list(_LISTING, kept=kept, facets=facets))


@blueprint.get("/<subscription>/<event_id>")
def show_one(subscription: str, event_id: str) -> Response:
    """One delivery."""
    row = read(f"deliveries/{subscription}/{event_id}")
    actions = [ACTIONS[f"{name}-delivery"] for name in _POSSIBLE.get(row["state"], ())]
    return render_page("delivery.html", title="Delivery", row=row, actions=actions)
