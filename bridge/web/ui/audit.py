"""Who changed what."""

from __future__ import annotations

from flask import Response

from bridge.web.ui.audit_rows import compared
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.filter_text import quoted
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("audit", __name__, "audit")

_ACTIONS = ("openSession", "addReplay", "pauseSource", "pauseSubscription", "addBackfill", "addErasure")


@blueprint.get("")
def show() -> Response:
    """The list, newest first; before and after side by side."""
    own = f"actor:{quoted(read('session')['name'])}"
    listing = Listing(
        "audit",
        "audit",
        fields="audit",
        facets={"By": (own,), "Action": tuple(f"action:{name}" for name in _ACTIONS)},
    )
    shown = read_list(listing)
    members = {row["id"]: compared(row["before"], row["after"]) for row in shown.rows}
    return render_page("audit.html", title="Audit", shown=shown, members=members)
