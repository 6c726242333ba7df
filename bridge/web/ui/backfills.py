"""Past periods of a source that are read again: the list, one with its progress, and requesting one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from bridge.web.ui.actions import Action, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import Refused, read
from bridge.web.ui.forms import entered, form_status, new_key, send, source_names
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import PREFIX, add_notice, render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("backfills", __name__, "backfills")

_LISTING = Listing("backfills", "backfills", has_period=False)
_REPROCESS = ("none", "failed", "all")
#: States in which each action has something to do.
_STATES = {
    "stop-backfill": ("waiting", "running"),
    "resume-backfill": ("stopped", "failed"),
    "cancel-backfill": ("waiting", "running", "stopped", "failed"),
}


def _action(name: str, explains: str, *, is_danger: bool = False) -> Action:
    return Action(
        name=f"{name}-backfill",
        path=f"backfills/{{source}}/{{number}}/{name}",
        label=name.capitalize(),
        explains=explains,
        command=f"attempt-bridge backfill {name} {{source}}/{{number}}",
        done=lambda fields, answer: f"backfill {answer['id']}: {name} was requested. Its state: {answer['state']}",
        is_danger=is_danger,
    )


_ACTIONS = (
    _action("stop", "It ends after the current page; Resume continues there. A dry run is cancelled."),
    _action("resume", "A worker continues it where it ended."),
    _action("cancel", "It ends permanently. What it has published stays.", is_danger=True),
)
add_actions(*_ACTIONS)


@blueprint.get("")
def show_list() -> Response:
    """The backfills, newest first."""
    return render_page(
        "backfills.html", title="Backfills", shown=read_list(_LISTING, kept=("source",)), sources=source_names()
    )


@blueprint.get("/new")
def show_form() -> Response:
    """What to read again."""
    return _form()


@blueprint.post("/new")
def start() -> AnyResponse:
    """Request a backfill."""
    given = {name: request.form.get(name, "").strip() for name in ("source", "first", "last", "reprocess", "rate")}
    body: dict[str, Any] = {name: value for name, value in given.items() if value}
    if given["rate"].isascii() and given["rate"].isdecimal() and len(given["rate"]) < 10:
        body["rate"] = int(given["rate"])
    answer = send("backfills", body | {"dry_run": bool(request.form.get("dry_run"))})
    if isinstance(answer, Refused):
        return _form(answer)
    response = redirect(f"{PREFIX}backfills/{answer.document['id']}", 303)
    add_notice(response, f"backfill {answer.document['id']} was requested")
    return response


@blueprint.get("/<source>/<number>")
def show_one(source: str, number: str) -> Response:
    """One backfill: how far it has come, and what it has found."""
    row = read(f"backfills/{source}/{number}")
    return render_page(
        "backfill.html",
        title="Backfill",
        row=row,
        number=number,
        days=_days(row),
        actions=[action for action in _ACTIONS if row["state"] in _STATES[action.name] and not _is_over(action, row)],
    )


def _is_over(action: Action, row: dict[str, Any]) -> bool:
    """A dry run that has ended cannot be continued."""
    return bool(row["dry_run"]) and action.name == "resume-backfill"


def _days(row: dict[str, Any]) -> tuple[str, str] | None:
    """How many days of the period have been read, and how many it has; None if unknown."""
    if row["progress"] is None:
        return None
    first, last = (datetime.fromisoformat(row[name]) for name in ("first", "last"))
    days = (last - first).total_seconds() / 86_400
    return f"{round(days * row['progress'], 1):g}", f"{round(days, 1):g}"


def _form(refused: Refused | None = None) -> Response:
    return render_page(
        "backfill_new.html",
        title="Read a past period again",
        status=form_status(refused),
        entered=entered(refused),
        sources=source_names(),
        reprocess=_REPROCESS,
        once=new_key(),
    )
