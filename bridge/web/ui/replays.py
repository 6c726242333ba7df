"""Replay jobs: the list, and one job with its progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response

from bridge.web.ui.actions import ACTIONS, Action, Fields, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("replays", __name__, "replays")

_LISTING = Listing("replays", "replays", has_period=False)
#: State of a job -> what can be done with it.
_POSSIBLE: Mapping[str, tuple[str, ...]] = {
    "running": ("stop", "abort"),
    "stopped": ("resume", "abort"),
    "failed": ("resume", "abort"),
}


def _says(word: str) -> Callable[[Fields, Any], str]:
    return lambda fields, _: f"{fields['ident']} {word}"


add_actions(
    Action(
        name="stop-replay",
        path="replays/{ident}/stop",
        label="Stop",
        explains="Stops the job after its current batch. What it made due is still sent. It can be resumed.",
        command="attempt-bridge replays stop {ident}",
        done=_says("is stopped"),
    ),
    Action(
        name="resume-replay",
        path="replays/{ident}/resume",
        label="Resume",
        explains="Continues the job where it ended.",
        command="attempt-bridge replays resume {ident}",
        done=_says("continues"),
    ),
    Action(
        name="abort-replay",
        path="replays/{ident}/abort",
        label="Abort",
        explains="Ends the job permanently after its current batch. What it made due is still sent.",
        command="attempt-bridge replays abort {ident}",
        done=_says("is aborted"),
        is_danger=True,
    ),
)


@blueprint.get("")
def show_list() -> Response:
    """The list, newest first."""
    return render_page("replays.html", title="Replays", shown=read_list(_LISTING))


@blueprint.get("/<ident>")
def show_one(ident: str) -> Response:
    """One job."""
    row = read(f"replays/{ident}")
    actions = [ACTIONS[f"{name}-replay"] for name in _POSSIBLE.get(row["state"], ())]
    return render_page("replay.html", title="Replay", row=row, actions=actions)
