"""Deliveries that were given up: the list, one of them, and what is shown before they are discarded."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response, request

from bridge.web.ui.actions import ACTIONS, Action, Fields, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import Refused, read
from bridge.web.ui.filter_text import quoted
from bridge.web.ui.formats import counted, number_text
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import PREFIX, render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("dead_letters", __name__, "dead-letters")

_LISTING = Listing("dead_letters", "dead-letters", fields="dead-letters")
_TYPES = ("attempt.completed", "attempt.revised", "attempt.voided", "attempt.overdue")
#: Failure groups whose subscriptions and reasons are facets, and values of a facet.
_GROUPS, _MOST = 100, 8
#: Ids that one call discards.
_BATCH = 500
_CHOICE = ("subscription", "filter", "since", "until")


def _ids(fields: Fields) -> dict[str, Any]:
    ids = fields.getlist("ids")
    if not ids:
        raise ValueError("no id was chosen")
    return {"ids": ids}


def _discarded(_: Fields, answer: Mapping[str, Any]) -> str:
    left = len(answer["failed"])
    more = f"; {number_text(left)} no longer there" if left else ""
    return f"{counted(answer['done'], 'dead letter')} discarded{more}"


add_actions(
    Action(
        name="discard-dead-letters",
        path="dead-letters/discard",
        label="Discard",
        explains="Deletes them permanently, with their events: they can never be replayed.",
        command="attempt-bridge dead-letters discard {ids}",
        body=_ids,
        done=_discarded,
        leads_to=lambda _, __: f"{PREFIX}dead-letters",
        is_danger=True,
    )
)


@blueprint.get("")
def show_list() -> Response:
    """The list, newest first."""
    groups = read("failure-groups", order="count", limit=_GROUPS)["failure_groups"]
    facets = {
        "Subscription": _terms("subscription", [group["subscription"] for group in groups if group["dead"]]),
        "Reason": _terms("reason", [group["reason"] for group in groups if group["dead"]]),
        "Type": [f"type:{name}" for name in _TYPES],
    }
    shown = read_list(_LISTING, kept=("subscription",), facets=facets)
    chosen = {"filter": shown.filter, "since": shown.since, "until": shown.until}
    names = [shown.kept["subscription"]] if "subscription" in shown.kept else []
    return render_page("dead_letters.html", title="Dead letters", shown=shown, chosen=chosen, names=names)


@blueprint.get("/discard")
def show_discard() -> Response:
    """What would be discarded: the ids of the address, or the newest that match its filter."""
    ids, problem, more = request.args.getlist("ids")[:_BATCH], None, False
    chosen = {name: request.args.get(name, "").strip() for name in _CHOICE}
    if request.args.get("by") == "ids":
        problem = None if ids else "nothing is selected. Remedy: select rows of the list first"
    else:
        try:
            page = read("dead-letters", limit=_BATCH, **chosen)
            ids, more = [row["id"] for row in page["dead_letters"]], page["next"] is not None
        except Refused as refused:
            if refused.status != 422:
                raise
            problem = refused.line
    return render_page(
        "dead_letters_discard.html",
        title="Discard dead letters",
        ids=ids,
        problem=problem,
        chosen=chosen,
        more=more,
        command=_discard_command(ids, chosen, every=more),
        action=ACTIONS["discard-dead-letters"],
    )


@blueprint.get("/<subscription>/<number>")
def show_one(subscription: str, number: str) -> Response:
    """One dead letter: its event, and every try."""
    row = read(f"dead-letters/{subscription}/{number}")
    return render_page(
        "dead_letter.html",
        title="Dead letter",
        row=row,
        event=_document(row["event"]),
        discard=ACTIONS["discard-dead-letters"],
    )


def _terms(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name}:{quoted(value)}" for value in list(dict.fromkeys(values))[:_MOST]]


def _discard_command(ids: Sequence[str], chosen: Mapping[str, str], *, every: bool) -> str:
    if not every:
        return shlex.join(["attempt-bridge", "dead-letters", "discard", *ids])
    options = [
        word for name in ("subscription", "filter", "since") if chosen[name] for word in (f"--{name}", chosen[name])
    ]
    return shlex.join(["attempt-bridge", "dead-letters", "discard", *options, "--yes"])


def _document(text: str) -> Any:
    """The event, or its text if it cannot be read; None if it is gone."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
