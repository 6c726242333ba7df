"""Attempts that are rechecked or expected: the list, one of them, registering one or a CSV file, cancelling."""

from __future__ import annotations

from collections.abc import Mapping
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

blueprint = PageBlueprint("watches", __name__, "watches")

_LISTING = Listing("watches", "watches", has_period=False)
_STATES = ("open", "overdue", "expanded")
_KINDS = {
    "attempt": "an attempt that is not completed yet",
    "expectation": "an attempt that an operator expects",
    "pointer": "a webhook without a result has named it",
    "ungraded": "published, and not graded yet",
    "reread": "settled, read again in case it changes",
}
#: Prefix of the names of the fields for members of a reference.
_MEMBER = "reference."
#: Problems that are shown of a CSV text.
_PROBLEMS_SHOWN = 30

_CANCEL = Action(
    name="cancel-watch",
    method="DELETE",
    path="watches/{ident}",
    label="Cancel",
    explains="It is no longer rechecked, and nothing is announced. An attempt that comes later is still published.",
    command="attempt-bridge watches cancel {ident}",
    done=lambda fields, answer: "the watch is cancelled",
    leads_to=lambda fields, answer: f"{PREFIX}watches",
    is_danger=True,
)
add_actions(_CANCEL)


@blueprint.get("")
def show_list() -> Response:
    """The watches, overdue ones first."""
    return render_page(
        "watches.html",
        title="Watches",
        shown=read_list(_LISTING, kept=("source", "state", "kind")),
        sources=source_names(),
        states=_STATES,
        kinds=_KINDS,
    )


@blueprint.get("/new")
def show_form() -> Response:
    """The fields of the source's vendor, once a source is chosen."""
    return _form()


@blueprint.post("/new")
def register() -> AnyResponse:
    """Expect one attempt."""
    given = {name: value.strip() for name, value in request.form.items() if value.strip()}
    body: dict[str, Any] = {name: given[name] for name in ("source", "due", "deadline", "label") if name in given}
    body["reference"] = {name.removeprefix(_MEMBER): value for name, value in given.items() if name.startswith(_MEMBER)}
    answer = send("watches", body)
    if isinstance(answer, Refused):
        return _form(answer)
    response = redirect(f"{PREFIX}watches/{answer.document['id']}", 303)
    add_notice(response, "the attempt is expected")
    return response


@blueprint.get("/import")
def show_import() -> Response:
    """The field for a CSV text."""
    return _import()


@blueprint.post("/import")
def import_csv() -> AnyResponse:
    """Check or register every line."""
    is_check = "check" in request.form
    body = {"csv": request.form.get("csv", ""), "source": request.form.get("source", ""), "dry_run": is_check}
    answer = send("watches/import", body)
    if isinstance(answer, Refused):
        return _import(answer)
    number = len(set(answer.document["ids"]))
    if is_check:
        return _import(checked=number)
    response = redirect(f"{PREFIX}watches", 303)
    add_notice(response, f"{number} attempts are expected")
    return response


@blueprint.get("/<ident>")
def show_one(ident: str) -> Response:
    """One watch."""
    return render_page("watch.html", title="Watch", row=read(f"watches/{ident}"), kinds=_KINDS, cancel=_CANCEL)


def _form(refused: Refused | None = None) -> Response:
    names, form = source_names(), entered(refused)
    source = form.value("source")
    members: Mapping[str, str] | None = read(f"sources/{source}")["reference"] if source in names else None
    return render_page(
        "watch_new.html",
        title="Expect an attempt",
        status=form_status(refused),
        entered=form,
        sources=names,
        source=source,
        members=members,
        once=new_key(),
    )


def _import(refused: Refused | None = None, checked: int | None = None) -> Response:
    problems = () if refused is None else refused.problems
    return render_page(
        "watch_import.html",
        title="Import expected attempts",
        status=form_status(refused),
        entered=entered(refused),
        problems=[_line(problem) for problem in problems[:_PROBLEMS_SHOWN]],
        problems_left_out=max(0, len(problems) - _PROBLEMS_SHOWN),
        checked=checked,
        sources=source_names(),
        once=new_key(),
    )


def _line(problem: Mapping[str, str]) -> str:
    """A problem of the API with its line: of `csv.3.reference`, line 3, reference."""
    number, _, member = problem["path"].removeprefix("csv.").partition(".")
    parts = [f"line {number}", member] if number.isdecimal() else [problem["path"]]
    return ": ".join(part for part in (*parts, problem["message"]) if part)
