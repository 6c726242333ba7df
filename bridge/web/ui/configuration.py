"""The configuration as it is in use, without secrets."""

from __future__ import annotations

from flask import Response

from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.pages import render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("configuration", __name__, "settings")


@blueprint.get("")
def show() -> Response:
    """All of it, to read."""
    return render_page("settings.html", title="Settings", configuration=read("configuration"))
