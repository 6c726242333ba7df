"""The overview: whether results are lost, where, and what to press."""

from __future__ import annotations

from flask import Response

from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.pages import render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("overview", __name__)


@blueprint.get("/")
def show() -> Response:
    """The page."""
    return render_page("overview.html", title="Overview", sources=read("sources", limit=1000)["sources"])
