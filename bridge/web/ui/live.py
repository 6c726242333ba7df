"""Events and tries of deliveries as they happen; without scripts, the newest of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import Refused, read
from bridge.web.ui.forms import source_names
from bridge.web.ui.pages import render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("live", __name__, "live")

_STREAM = "/api/v1/events/stream"
_EVENTS, _ALARMS, _DELIVERIES = "events", "alarms", "deliveries"
#: What the address may ask for -> its name on the page.
_TOPICS = {
    "events,alarms": "events and alarms",
    "events": "events",
    "alarms": "alarms",
    "deliveries": "deliveries",
    "events,alarms,deliveries": "everything",
}
_ALARM_TYPES = ("source.", "subscription.")
_TRIES = ("delivered", "handed_over", "failed", "dead")
#: Rows that the page starts with.
_LIMIT = 50
#: What was published while the page was made is sent too; rows that the page has already are left out by the script.
_OVERLAP = "10s"


@blueprint.get("")
def show() -> Response:
    """The page."""
    asked = {name: request.args.get(name, "").strip() for name in ("filter", "source")}
    topics = request.args.get("topics", "")
    if topics not in _TOPICS:
        topics = next(iter(_TOPICS))
    wanted = topics.split(",")
    problem, rows = None, []
    try:
        rows = _events(asked, wanted) if _EVENTS in wanted or _ALARMS in wanted else []
    except Refused as refused:
        if refused.status != 422:
            raise
        problem = refused.line
    return render_page(
        "live.html",
        title="Live",
        asked=asked,
        topics=topics,
        choices=_TOPICS,
        sources=source_names(),
        fields=_fields(wanted),
        rows=rows,
        problem=problem,
        stream=_address(topics, asked),
        types=_types(),
    )


def _events(asked: Mapping[str, str], wanted: Sequence[str]) -> list[Mapping[str, Any]]:
    """The newest events and alarms, newest first."""
    rows = read("events", limit=_LIMIT, **asked)["events"]
    return [row for row in rows if (_ALARMS if row["type"].startswith(_ALARM_TYPES) else _EVENTS) in wanted]


def _address(topics: str, asked: Mapping[str, str]) -> str:
    """The address of the stream."""
    query = {"topics": topics, **asked, "since": "" if topics == _DELIVERIES else _OVERLAP}
    return f"{_STREAM}?{urlencode({name: value for name, value in query.items() if value})}"


def _fields(wanted: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """What the filter may name: a stream of events and deliveries has no filter."""
    if _DELIVERIES in wanted and len(wanted) > 1:
        return ()
    fields: Sequence[Mapping[str, Any]] = read(f"fields/{'tries' if _DELIVERIES in wanted else 'events'}")["fields"]
    return fields


def _types() -> list[str]:
    """The types of all messages: a script gets only those that it names."""
    known = next((each["values"] for each in read("fields/events")["fields"] if each["name"] == "type"), ())
    return [*known, *(f"delivery.{outcome}" for outcome in _TRIES)]
