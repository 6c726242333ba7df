"""Published events: the list, and one event."""

from __future__ import annotations

from flask import Response

from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("events", __name__, "events")

#: Deliveries on the page of an event; the others are a list of their own.
_DELIVERIES = 20
_LISTING = Listing(
    "events",
    "events",
    fields="events",
    facets={
        "Type": ("type:attempt.completed", "type:attempt.revised", "type:attempt.voided", "type:attempt.overdue"),
        "Origin": ("origin:webhook", "origin:poll", "origin:backfill", "origin:bridge"),
        "Passed": ("passed:true", "passed:false"),
    },
)


@blueprint.get("")
def show_list() -> Response:
    """The list, newest first."""
    return render_page("events.html", title="Events", shown=read_list(_LISTING))


@blueprint.get("/<ident>")
def show_one(ident: str) -> Response:
    """One event, and what became of it."""
    row = read(f"events/{ident}")
    deliveries = read("deliveries", event=row["id"], limit=_DELIVERIES)
    fields = read("fields/deliveries")["fields"]
    names = next((field["values"] for field in fields if field["name"] == "subscription"), ())
    return render_page(
        "event.html", title="Event", active="events", row=row, deliveries=deliveries, subscriptions=names
    )
