"""Webhooks as received, refused ones included; and what is in quarantine because it cannot be read."""

from __future__ import annotations

import secrets

from flask import Response

from bridge.web.ui.actions import Action, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import call, read
from bridge.web.ui.facets import values_of
from bridge.web.ui.filter_text import quoted
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import is_operator, render_page
from bridge.web.ui.shown_body import shown_body

__all__ = ["blueprint"]

blueprint = PageBlueprint("requests", __name__, "requests")

_REQUESTS = Listing("requests", "requests", fields="requests")
_QUARANTINE = Listing("quarantine", "quarantine", fields="quarantine")
_OUTCOMES = ("published", "revised", "duplicate", "watching", "ignored", "test", "quarantined", "rejected")
_ORIGINS = ("webhook", "poll", "backfill")


REPROCESS = Action(
    name="reprocess-request",
    path="requests/{request}/reprocess",
    label="Process again",
    explains="Processes the body again, with the current code and configuration. What was published before is a "
    "duplicate and stays as it is.",
    command="attempt-bridge requests reprocess {request}",
    done=lambda fields, answer: f"Request {fields['request']} was processed again: {answer['outcome']}.",
)
add_actions(REPROCESS)


@blueprint.get("")
def show_list() -> Response:
    """The list, newest first."""
    facets = {
        "Outcome": [f"outcome:{outcome}" for outcome in _OUTCOMES],
        "Source": values_of("requests", "source"),
    }
    return render_page("requests.html", title="Requests", shown=read_list(_REQUESTS, facets=facets))


@blueprint.get("/quarantine")
def show_quarantine() -> Response:
    """What cannot be read."""
    facets = {"Origin": [f"origin:{origin}" for origin in _ORIGINS], "Source": values_of("quarantine", "source")}
    return render_page(
        "quarantine.html", title="Quarantine", active="requests", shown=read_list(_QUARANTINE, facets=facets)
    )


@blueprint.get("/quarantine/<number>")
def show_quarantined(number: str) -> Response:
    """One record that cannot be read."""
    row = read(f"quarantine/{number}")
    return render_page(
        "quarantined.html",
        title="Quarantined record",
        active="requests",
        row=row,
        body=shown_body(row["body"].encode()),
    )


@blueprint.get("/<ident>")
def show_one(ident: str) -> Response:
    """One request: its headers, its body for operators, and what it led to."""
    row = read(f"requests/{ident}")
    raw = call("GET", f"requests/{row['id']}/raw").raw if is_operator() else None
    kept = read("quarantine", filter=f"request:{quoted(row['id'])}") if row["outcome"] == "quarantined" else {}
    return render_page(
        "request.html",
        title="Request",
        active="requests",
        row=row,
        body=None if raw is None else shown_body(raw),
        quarantined=kept.get("quarantine", ()),
        reprocess=REPROCESS,
        once=secrets.token_urlsafe(12),
    )
