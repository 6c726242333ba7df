"""The receivers: what waits for each, whether it answers, a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Response, request

from bridge.web.ui.actions import ACTIONS, Action, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import Refused, call, read
from bridge.web.ui.charts import chart_of
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import PREFIX, is_operator, render_page, session_here
from bridge.web.ui.periods import chosen_period, period_choices

__all__ = ["blueprint"]

blueprint = PageBlueprint("subscriptions", __name__, "subscriptions")

_LISTING = Listing("subscriptions", "subscriptions", has_period=False)
#: Failure groups that the page of a subscription shows; their list has the rest.
_GROUPS = 10
#: Figure of a subscription -> its label in charts.
_CHART = {"delivered": "delivered", "handed_over": "handed over", "retried": "failed", "dead": "given up"}

add_actions(
    Action(
        name="pause-subscription",
        path="subscriptions/{name}/pause",
        label="Pause",
        explains="Nothing more is sent until it is resumed. Its events wait, for bridge.retention.events at most.",
        command="attempt-bridge subscriptions pause {name}",
        done=lambda fields, _: f"{fields['name']} is paused",
    ),
    Action(
        name="resume-subscription",
        path="subscriptions/{name}/resume",
        label="Resume",
        explains="Ends a pause, closes an open circuit, and makes waiting retries due at once.",
        command="attempt-bridge subscriptions resume {name}",
        done=lambda fields, answer: f"{fields['name']} is active; due at once: {_retries(answer['retries'])}",
    ),
    Action(
        name="forget-subscription",
        path="subscriptions/{name}/forget",
        label="Forget",
        explains="Permanently deletes what is left of it: its place in the journal, retries and dead letters. The "
        "events in the journal remain.",
        command="attempt-bridge subscriptions forget {name} --yes",
        body=lambda _: {"dry_run": False},
        done=lambda fields, _: f"{fields['name']} is forgotten",
        leads_to=lambda _, __: f"{PREFIX}subscriptions",
        is_danger=True,
    ),
)


@blueprint.get("")
def show_list() -> Response:
    """The list, in the order of the file."""
    shown = read_list(_LISTING)
    names = ",".join(row["name"] for row in shown.rows if row["configured"])
    stats = read("stats", period="24h", series=False, subscriptions=names)["subscriptions"] if names else ()
    shares = {row["name"]: success_share(row["totals"]) for row in stats}
    lags = {row["name"]: row["lag_p95"] for row in stats}
    return render_page("subscriptions.html", title="Subscriptions", shown=shown, shares=shares, lags=lags)


@blueprint.get("/<name>")
def show_one(name: str) -> Response:
    """One subscription."""
    row = read(f"subscriptions/{name}")
    groups = read("failure-groups", subscription=row["name"], order="count", limit=_GROUPS)["failure_groups"]
    stats, figures = None, None
    if row["configured"]:
        stats = read("stats", period=chosen_period(), step="5m", subscriptions=row["name"])
        figures = next(iter(stats["subscriptions"]), None)
    return render_page(
        "subscription.html",
        title="Subscription",
        row=row,
        groups=[group for group in groups if group["count"]],
        periods=period_choices(),
        chart=None if stats is None else chart_of("Tries", stats, figures, _CHART),
        share=None if figures is None else success_share(figures["totals"]),
        lag=None if figures is None else figures["lag_p95"],
        secrets=_secrets((row.get("configuration") or {}).get("secrets", ())),
        actions=[ACTIONS[f"{each}-subscription"] for each in _possible(row)],
        left=_left_of(row),
        forget=ACTIONS["forget-subscription"],
    )


@blueprint.post("/<name>/test")
def test(name: str) -> Response:
    """Send one test event, and show the result."""
    tested, body, problem = None, None, None
    try:
        headers = {"X-CSRF-Token": request.form.get("csrf", "")}
        tested = call("POST", f"subscriptions/{name}/test", headers=headers).document
        body = _document(tested["request"]["body"]) if tested["request"] else None
    except Refused as refused:
        if refused.status in (401, 404):
            raise
        problem = refused.line
    title = f"Test of {name}"
    return render_page("subscription_test.html", title=title, name=name, tested=tested, body=body, problem=problem)


def _left_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """What forgetting would delete, or why it cannot be forgotten; None for one that is configured, and for viewers."""
    if row["configured"] or not is_operator():
        return None
    session = session_here() or {}
    headers = {"X-CSRF-Token": session.get("csrf") or ""}
    try:
        left = call("POST", f"subscriptions/{row['name']}/forget", body={"dry_run": True}, headers=headers).document
    except Refused as refused:
        if refused.status == 401:
            raise
        return {"problem": refused.line}
    return {"problem": None, **left}


def success_share(totals: Mapping[str, int]) -> float | None:
    """The share of tries that succeeded, 0 to 1; None without tries. `totals`: of a subscription's stats."""
    done = totals.get("delivered", 0) + totals.get("handed_over", 0)
    tries = done + totals.get("retried", 0) + totals.get("dead", 0)
    return done / tries if tries else None


def _possible(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The actions on a subscription in its state."""
    if not row["configured"]:
        return ()
    is_active = row["state"] == "active"
    return ("pause",) if is_active and row["circuit"] == "closed" else ("resume", "pause") if is_active else ("resume",)


def _secrets(configured: Any) -> list[dict[str, Any]]:
    """Each signing secret, masked, with its end if it has one."""
    return [secret if isinstance(secret, dict) else {"secret": secret} for secret in configured]


def _retries(number: int) -> str:
    return "1 retry" if number == 1 else f"{number:,} retries"


def _document(text: str) -> Any:
    """What was sent: JSON, or its text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
