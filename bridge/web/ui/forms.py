"""Forms with fields of their own: what was typed stays, and the API's messages are next to their fields."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import request

from bridge.web.ui.calls import Answer, Refused, call, read

__all__ = ["Entered", "entered", "form_status", "new_key", "send", "source_names"]


@dataclass(frozen=True, slots=True)
class Entered:
    """A form as it was filled in. `refused`: what the API says about it, None before it was sent."""

    values: Mapping[str, str] = field(default_factory=dict)
    refused: Refused | None = None

    def value(self, name: str, default: str = "") -> str:
        """What was typed into a field."""
        return self.values.get(name, default)

    def problems(self, path: str, *, exact: bool = False) -> list[str]:
        """What is wrong with a member of the call, or with what is in it. `exact`: with the member itself."""
        problems = () if self.refused is None else self.refused.problems
        inner = f"{path}."
        return [
            str(problem["message"])
            for problem in problems
            if problem["path"] == path or (not exact and problem["path"].startswith(inner))
        ]


def entered(refused: Refused | None = None) -> Entered:
    """The form of the current request; read from the address until the form has been sent."""
    given = request.form if request.method == "POST" else request.args
    return Entered({name: value for name, value in given.items() if name not in ("csrf", "key")}, refused)


def send(path: str, body: Mapping[str, Any]) -> Answer | Refused:
    """One call for the form of the current request, or why it was refused. Raises `Refused` before signing in."""
    headers = {"X-CSRF-Token": request.form.get("csrf", "")}
    if key := request.form.get("key"):
        headers["Idempotency-Key"] = key
    try:
        return call("POST", path, body=body, headers=headers)
    except Refused as refused:
        if refused.status == 401:
            raise
        return refused


def form_status(refused: Refused | None) -> int:
    """The status of the page with the form."""
    return 200 if refused is None else refused.status


def new_key() -> str:
    """A random text: sending the same page twice does it once."""
    return secrets.token_hex(16)


def source_names() -> list[str]:
    """The configured sources, without asking for their state."""
    fields = read("fields/events")["fields"]
    return next((list(each["values"]) for each in fields if each["name"] == "source"), [])
