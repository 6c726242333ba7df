"""A vendor's list against what was published: the results, one of them day by day, and requesting one."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from bridge.web.ui.actions import Action, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import Refused, read
from bridge.web.ui.forms import entered, form_status, new_key, send, source_names
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import PREFIX, add_notice, render_page
from bridge.web.ui.reconciliation_rows import BARS, DIFFERENCES, MAX_DAYS, days_of, ids_of

__all__ = ["blueprint"]

blueprint = PageBlueprint("reconciliations", __name__, "reconciliations")

_LISTING = Listing("reconciliations", "reconciliations", has_period=False)
_STATES = ("waiting", "running", "done", "stopped", "failed")
_NAMES = [kind.name for kind in DIFFERENCES]
#: Ids of each kind on the page of a result, and of one kind on a page of its own.
_IDS_SHOWN, _IDS_OF_ONE = 40, 400

_STOP = Action(
    name="stop-reconciliation",
    path="reconciliations/{source}/{number}/stop",
    label="Stop",
    explains="It ends after the current page. No result is kept.",
    command="attempt-bridge reconcile stop {source}/{number}",
    done=lambda fields, answer: f"{answer['id']} is stopped, or will be after the current page",
    is_danger=True,
)
add_actions(_STOP)


@blueprint.get("")
def show_list() -> Response:
    """The results, newest first, and requested ones."""
    return render_page(
        "reconciliations.html",
        title="Reconciliations",
        shown=read_list(_LISTING, kept=("source", "state")),
        sources=source_names(),
        states=_STATES,
    )


@blueprint.get("/new")
def show_form() -> Response:
    """What to compare."""
    return _form()


@blueprint.post("/new")
def start() -> AnyResponse:
    """Request a comparison."""
    body: dict[str, Any] = {"source": request.form.get("source", ""), "fix": bool(request.form.get("fix"))}
    if since := request.form.get("since", "").strip():
        body["since"] = since
    answer = send("reconciliations", body)
    if isinstance(answer, Refused):
        return _form(answer)
    response = redirect(f"{PREFIX}reconciliations/{answer.document['id']}", 303)
    add_notice(response, f"reconciliation {answer.document['id']} was requested")
    return response


@blueprint.get("/<source>/<number>")
def show_one(source: str, number: str) -> Response:
    """One comparison: its days, and the ids that differ."""
    row = read(f"reconciliations/{source}/{number}")
    kind, first = request.args.get("kind"), request.args.get("from", "0")
    if (kind is not None and kind not in _NAMES) or not (first.isascii() and first.isdecimal() and len(first) < 10):
        abort(404)
    return render_page(
        "reconciliation.html",
        title="Reconciliation",
        row=row,
        number=number,
        stop=_STOP,
        bars=BARS,
        days=days_of(row),
        days_left_out=max(0, len(row.get("days") or {}) - MAX_DAYS),
        kind=kind,
        step=_IDS_OF_ONE,
        lists=ids_of(row, kind, int(first) if kind else 0, _IDS_OF_ONE if kind else _IDS_SHOWN),
        fixed=set(row.get("fixed") or ()),
    )


def _form(refused: Refused | None = None) -> Response:
    return render_page(
        "reconciliation_new.html",
        title="Compare a vendor's list",
        status=form_status(refused),
        entered=entered(refused),
        sources=source_names(),
        once=new_key(),
    )
