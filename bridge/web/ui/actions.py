"""The buttons of the pages: each is one call of the API, and shows the command that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import abort, redirect, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import Refused, call
from bridge.web.ui.pages import add_notice
from bridge.web.ui.targets import local_target

__all__ = ["ACTIONS", "Action", "add_actions", "blueprint"]

blueprint = PageBlueprint("actions", __name__, "do")

#: The fields of a form, without those common to all. `fields[name]` is the first value, `fields.getlist(name)` all.
Fields = MultiDict[str, str]
_OF_EVERY_FORM = ("csrf", "next", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One call. Texts refer to fields of its form as `{name}`."""

    #: Its part of the address, such as `pause-source`.
    name: str
    method: str = "POST"
    #: Path of the call below `/api/v1/`, such as `sources/{name}/pause`.
    path: str
    #: Text of the button, such as `Pause`.
    label: str
    #: What it does, in a sentence for a reader who hesitates.
    explains: str
    #: The command that does the same; values are quoted for a shell.
    command: str
    #: The notice when it is done; may use the fields of the form and, as `answer`, the document of the answer.
    done: Callable[[Fields, Any], str]
    #: The body of the call, None for none.
    body: Callable[[Fields], Mapping[str, Any]] | None = None
    #: Where to go afterwards; None: back to the page of the form.
    leads_to: Callable[[Fields, Any], str] | None = None
    #: Whether it deletes something, or cannot be undone.
    is_danger: bool = False

    def command_line(self, fields: Mapping[str, Any]) -> str:
        """The command for these fields."""
        return self.command.format_map({name: shlex.quote(str(value)) for name, value in fields.items()})


#: By name. The modules of the pages add theirs.
ACTIONS: dict[str, Action] = {}


def add_actions(*actions: Action) -> None:
    """Add the actions of a page."""
    ACTIONS.update({action.name: action for action in actions})


@blueprint.post("/<name>")
def do(name: str) -> AnyResponse:
    """Make the call, and show its result on the next page."""
    action = ACTIONS.get(name)
    if action is None:
        abort(404)
    fields = MultiDict(pair for pair in request.form.items(multi=True) if pair[0] not in _OF_EVERY_FORM)
    headers = {"X-CSRF-Token": request.form.get("csrf", "")}
    if key := request.form.get("key"):
        headers["Idempotency-Key"] = key
    back = local_target(request.form.get("next", ""))
    try:
        path = action.path.format_map(fields)
        body = None if action.body is None else action.body(fields)
    except (KeyError, ValueError):
        abort(400)
    try:
        answer = call(action.method, path, body=body, headers=headers).document
    except Refused as refused:
        if refused.status == 401:
            raise
        response = redirect(back, 303)
        add_notice(response, refused.line, is_problem=True)
        return response
    response = redirect(back if action.leads_to is None else action.leads_to(fields, answer), 303)
    add_notice(response, action.done(fields, answer))
    return response
