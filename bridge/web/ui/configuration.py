"""The configuration as it is in use, without secrets."""

from __future__ import annotations

from flask import Response, request

from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.pages import render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("configuration", __name__, "settings")

#: Sources and subscriptions that are shown in full.
_MOST = 20


@blueprint.get("")
def show() -> Response:
    """All of it, to read; of many sources and subscriptions the names, and one that was chosen."""
    configuration = read("configuration")
    return render_page(
        "settings.html",
        title="Settings",
        configuration=configuration,
        is_short=len(configuration["sources"]) + len(configuration["subscriptions"]) <= _MOST,
        chosen={name: request.args.get(name) for name in ("source", "subscription")},
    )
