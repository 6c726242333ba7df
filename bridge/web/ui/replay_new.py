"""The step before a replay: what it would send, counted and with examples, and the form that makes the job."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flask import Response, request
from werkzeug.datastructures import MultiDict

from bridge.web.ui.actions import ACTIONS, Action, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import Refused, call
from bridge.web.ui.formats import number_text
from bridge.web.ui.pages import PREFIX, render_page, session_here

__all__ = ["Chosen", "blueprint"]

blueprint = PageBlueprint("replay_new", __name__, "replays/new")

#: What can be replayed -> the word for it.
WORDS: Mapping[str, str] = {"dead_letters": "dead letters", "events": "events", "quarantine": "quarantined records"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to be replayed, as an address or a form says it."""

    what: str
    ids: tuple[str, ...] = ()
    group: str = ""
    filter: str = ""
    since: str = ""
    until: str = ""
    subscriptions: tuple[str, ...] = ()
    from_archive: str = ""
    rate: str = ""

    @classmethod
    def read(cls, values: MultiDict[str, str]) -> Chosen:
        """What the parameters of an address or the fields of a form say."""
        words = ("what", "group", "filter", "since", "until", "from_archive", "rate")
        texts = {name: values.get(name, "").strip() for name in words}
        names = [name for text in values.getlist("subscriptions") for name in re.split(r"[\s,]+", text) if name]
        return cls(ids=tuple(values.getlist("ids")), subscriptions=tuple(names), **texts)

    @property
    def members(self) -> dict[str, Any]:
        """The members of the call, without those that are not given."""
        every = {
            "what": self.what,
            "ids": list(self.ids),
            "group": self.group,
            "filter": self.filter,
            "since": self.since,
            "until": self.until,
            "subscriptions": list(self.subscriptions),
            "from_archive": self.from_archive,
            "rate": self.rate,
        }
        return {name: value for name, value in every.items() if value}

    @property
    def command(self) -> str:
        """The command that does the same."""
        words = ["attempt-bridge", "replays", "new", self.what.replace("_", "-"), *self.ids]
        options = ("group", "filter", "since", "until", "from_archive", "rate")
        given = [(name.replace("_", "-"), getattr(self, name)) for name in options if getattr(self, name)]
        words += [word for name, value in given for word in (f"--{name}", value)]
        words += [word for name in self.subscriptions for word in ("--subscription", name)]
        return shlex.join(words if self.ids else [*words, "--yes"])

    def frozen(self, preview: Mapping[str, Any]) -> Chosen:
        """The same with absolute times, and without what comes after its preview."""
        if self.ids:
            return self
        return replace(self, filter=preview["filter"], since="", until=preview["at"])


def _done(_: object, answer: Mapping[str, Any]) -> str:
    preview = answer["preview"]
    number = number_text(preview["total"])
    return f"{answer['replay']['id']} replays {number if preview['complete'] else f'at least {number}'}"


add_actions(
    Action(
        name="new-replay",
        path="replays",
        label="Replay",
        explains="Makes a job that sends them again, with the same event ids. A dispatch process runs it.",
        command="attempt-bridge replays new {what}",
        body=lambda fields: Chosen.read(fields).members,
        done=_done,
        leads_to=lambda _, answer: f"{PREFIX}replays/{answer['replay']['id']}",
    )
)


@blueprint.get("")
def show() -> Response:
    """The preview of what the address chooses; without a choice, the form that chooses."""
    chosen = Chosen.read(request.args)
    problem, preview = None, None
    if request.args.get("by") == "ids" and not chosen.ids:
        problem = "nothing is selected. Remedy: select rows of the list first"
    elif chosen.what:
        try:
            preview = _preview(chosen)
        except Refused as refused:
            if refused.status == 401:
                raise
            problem = refused.line
    return render_page(
        "replay_new.html",
        title="Replay",
        chosen=chosen,
        problem=problem,
        preview=preview,
        frozen=chosen if preview is None else chosen.frozen(preview),
        words=WORDS,
        action=ACTIONS["new-replay"],
        once=os.urandom(12).hex(),
    )


def _preview(chosen: Chosen) -> dict[str, Any]:
    """It changes nothing: a page may ask for it."""
    session = session_here() or {}
    body = {**replace(chosen, rate="").members, "preview": True}
    headers = {"X-CSRF-Token": session.get("csrf") or ""}
    preview: dict[str, Any] = call("POST", "replays", body=body, headers=headers).document["preview"]
    return preview
