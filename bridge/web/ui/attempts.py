"""Attempts: one search for all of them, and everything that happened to one."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from flask import Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.facets import values_of
from bridge.web.ui.filter_text import quoted, searchable
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import PREFIX, render_page
from bridge.web.ui.timeline import revisions, timeline

__all__ = ["blueprint"]

blueprint = PageBlueprint("attempts", __name__, "attempts")

_LISTING = Listing("attempts", "attempts", fields="attempts")
#: A longer document is linked instead, so that the page stays small.
_MOST_JSON = 40_000
#: Names that a filter has besides its fields.
_PERIOD = ("since", "until")


@blueprint.get("")
def show_list() -> AnyResponse:
    """The search. An id such as `link:7` is a text, not a filter: its field does not exist."""
    given = request.args.get("filter", "")
    names = {field["name"] for field in read("fields/attempts")["fields"]}
    asked = searchable(given, names.union(_PERIOD))
    if asked != given:
        return redirect(f"{request.path}?{urlencode({**request.args, 'filter': asked})}", 303)
    facets = {"Source": values_of("attempts", "source"), "Result": ("passed:true", "passed:false", "status:voided")}
    return render_page("attempts.html", title="Attempts", shown=read_list(_LISTING, facets=facets))


@blueprint.get("/<source>")
@blueprint.get("/<source>/<path:attempt>")
def show_one(source: str, attempt: str = "") -> Response:
    """One attempt. `?attempt=` is for an id that an address cannot end in, such as `..`."""
    attempt = attempt or request.args.get("attempt", "")
    if not attempt:
        abort(404)
    details = read(f"attempts/{source}", attempt=attempt)
    asked = f"source:{quoted(source)} attempt:{quoted(attempt)}"
    requests, events = read("requests", filter=asked), read("events", filter=asked)
    newest = next((row for row in reversed(details["events"]) if row["revision"] is not None), None)
    return render_page(
        "attempt.html",
        title="Attempt",
        active="attempts",
        details=details,
        newest=newest,
        data={} if newest is None else newest["event"].get("data", {}),
        entries=timeline(details, requests["requests"], events["events"]),
        revisions=revisions(details),
        duplicates=sum(row["outcome"] == "duplicate" for row in requests["requests"]),
        searched=[_searched("webhooks", requests, "requests", asked), _searched("events", events, "events", asked)],
        address=f"attempts/{quote(source, safe='')}?attempt={quote(attempt, safe='')}",
        is_long=len(json.dumps(details)) > _MOST_JSON,
    )


def _searched(noun: str, document: dict[str, Any], path: str, asked: str) -> dict[str, Any]:
    """How far a search for the attempt came, and where it continues."""
    query = urlencode({"filter": asked, "cursor": document["next"] or ""})
    return {
        "noun": noun,
        "until": document["searched_until"],
        "next_url": f"{PREFIX}{path}?{query}" if document["next"] else None,
    }
