"""Failures grouped by kind: the list, largest first, and one group."""

from __future__ import annotations

from flask import Response

from bridge.web.ui.actions import ACTIONS, Action, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.formats import counted
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import PREFIX, render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("failure_groups", __name__, "failure-groups")

_LISTING = Listing("failure_groups", "failure-groups", has_period=False)
#: Dead letters and deliveries that the page of a group shows; its lists have the rest.
_EXAMPLES = 10

add_actions(
    Action(
        name="acknowledge-failure-group",
        path="failure-groups/{subscription}/{fingerprint}/acknowledge",
        label="Acknowledge",
        explains="Mutes the group until it has twice as many deliveries, at least ten more, or fails again after it "
        "was fixed.",
        command="attempt-bridge failure-groups acknowledge {subscription}/{fingerprint}",
        done=lambda fields, _: f"{fields['subscription']}/{fields['fingerprint']} is acknowledged",
    ),
    Action(
        name="reopen-failure-group",
        path="failure-groups/{subscription}/{fingerprint}/reopen",
        label="Reopen",
        explains="Unmutes the group.",
        command="attempt-bridge failure-groups reopen {subscription}/{fingerprint}",
        done=lambda fields, _: f"{fields['subscription']}/{fields['fingerprint']} is open",
    ),
    Action(
        name="discard-failure-group",
        path="failure-groups/{subscription}/{fingerprint}/discard",
        label="Discard",
        explains="Permanently deletes its dead letters, with their events. Deliveries that still fail continue.",
        command="attempt-bridge failure-groups discard {subscription}/{fingerprint} --yes",
        done=lambda _, answer: f"{counted(answer['discarded'], 'dead letter')} discarded",
        leads_to=lambda _, __: f"{PREFIX}failure-groups",
        is_danger=True,
    ),
)


@blueprint.get("")
def show_list() -> Response:
    """The list, the largest group first."""
    shown = read_list(_LISTING, kept=("subscription", "state", "order"), order="count")
    return render_page("failure_groups.html", title="Failure groups", shown=shown)


@blueprint.get("/<subscription>/<fingerprint>")
def show_one(subscription: str, fingerprint: str) -> Response:
    """One group, with the newest of its deliveries."""
    row = read(f"failure-groups/{subscription}/{fingerprint}")
    chosen = {"subscription": subscription, "filter": f"group:{row['fingerprint']}", "limit": _EXAMPLES}
    letters = read("dead-letters", **chosen)["dead_letters"] if row["dead"] else []
    failing = read("deliveries", **chosen, state="retrying")["deliveries"] if row["failing"] else []
    names = {"open": ["acknowledge"], "acknowledged": ["reopen"]}.get(row["state"], []) + ["discard"] * bool(
        row["dead"]
    )
    return render_page(
        "failure_group.html",
        title="Failure group",
        row=row,
        letters=letters,
        failing=failing,
        actions=[ACTIONS[f"{name}-failure-group"] for name in names],
    )
