"""Webhooks as they came, also the refused ones; and what is in quarantine because it cannot be read."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from typing import Any

from flask import Response

from bridge.web.ui.actions import Action, Fields, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import call, read
from bridge.web.ui.facets import values_of
from bridge.web.ui.filter_text import quoted
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import PREFIX, is_operator, render_page
from bridge.web.ui.shown_body import shown_body

__all__ = ["blueprint"]

blueprint = PageBlueprint("requests", __name__, "requests")

_REQUESTS = Listing("requests", "requests", fields="requests")
_QUARANTINE = Listing("quarantine", "quarantine", fields="quarantine")
_OUTCOMES = ("published", "revised", "duplicate", "watching", "ignored", "test", "quarantined", "rejected")
_ORIGINS = ("webhook", "poll", "backfill")


def _ids(fields: Fields) -> dict[str, Any]:
    ids = fields.getlist("id")
    if not ids:
        raise ValueError("no id was chosen")
    return {"what": "quarantine", "ids": ids}


def _matching(fields: Mapping[str, str]) -> dict[str, str]:
    """The members of a filter and its period that are given."""
    return {name: fields[name] for name in ("filter", "since", "until") if fields.get(name)}


def _page_of_replay(_: Fields, answer: Any) -> str:
    return f"{PREFIX}replays/{answer['replay']['id']}"


REPROCESS = Action(
    name="reprocess-request",
    path="requests/{request}/reprocess",
    label="Process again",
    explains="Processes the body again, with the code and the configuration of now. What was published before is a "
    "duplicate and stays as it is.",
    command="attempt-bridge requests reprocess {request}",
    done=lambda fields, answer: f"Request {fields['request']} was processed again: {answer['outcome']}.",
)
REPLAY_CHOSEN = Action(
    name="replay-quarantined",
    path="replays",
    label="Read again",
    explains="Reads these records again, with the code and the configuration of now. Those that can be read are "
    "published and leave the quarantine; the others stay.",
    command="attempt-bridge dead-letters replay {id}",
    body=_ids,
    done=lambda _, answer: f"Replay {answer['replay']['id']} reads {answer['preview']['total']} again.",
    leads_to=_page_of_replay,
)
REPLAY_MATCHING = Action(
    name="replay-quarantine-matching",
    path="replays",
    label="Read all that match again",
    explains="Reads all records of the quarantine that match the filter now. Those that can be read are published and "
    "leave the quarantine; the others stay.",
    command="attempt-bridge dead-letters replay --quarantine",
    body=lambda fields: {"what": "quarantine", **_matching(fields)},
    done=lambda _, answer: f"Replay {answer['replay']['id']} reads {answer['preview']['total']} again.",
    leads_to=_page_of_replay,
)
add_actions(REPROCESS, REPLAY_CHOSEN, REPLAY_MATCHING)


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
    shown = read_list(_QUARANTINE, facets=facets)
    matching = _matching({"filter": shown.filter, "since": shown.since, "until": shown.until})
    options = "".join(f" --{name} {shlex.quote(value)}" for name, value in matching.items())
    return render_page(
        "quarantine.html",
        title="Quarantine",
        active="requests",
        shown=shown,
        matching=matching,
        matching_command=f"{REPLAY_MATCHING.command}{options}",
        replay_chosen=REPLAY_CHOSEN,
        replay_matching=REPLAY_MATCHING,
        once=secrets.token_urlsafe(12),
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
        replay=REPLAY_CHOSEN,
        once=secrets.token_urlsafe(12),
    )


@blueprint.get("/<ident>")
def show_one(ident: str) -> Response:
    """One request: its headers, its body for operators, and what came of it."""
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
