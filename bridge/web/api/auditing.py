"""Every change through the API is recorded in the audit: by the application, so that no view can forget it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, current_app, g, request

from bridge.audit import Change
from bridge.errors import StateUnavailable
from bridge.web.api.common import caller_here, services_here
from bridge.web.api.problems import state_problem

__all__ = ["audit_changes", "audited", "not_a_change"]

_READING = ("GET", "HEAD", "OPTIONS")


def audited(target: str, *, before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None) -> None:
    """Note what the current call has changed; a call that notes nothing is recorded without these details.

    `target`: such as `source eu`. `before`, `after`: the members that changed, without secrets and personal data.
    """
    g.change = Change(target, before, after)


def not_a_change() -> None:
    """The current call has changed nothing, such as a preview, and is not recorded."""
    g.change = None


def audit_changes(app: Flask) -> None:
    """Record every call below `/api/v1` that changes something and has succeeded."""
    app.after_request(_record)


def _record(answer: Response) -> Response:
    if request.method in _READING or not request.path.startswith("/api/v1/") or answer.status_code >= 300:
        return answer
    change = g.get("change", Change(request.blueprint or "api"))
    caller = caller_here()
    if change is None or caller is None:
        return answer
    view = current_app.view_functions.get(request.endpoint or "")
    action = getattr(view, "operation", request.endpoint or "")
    services = services_here()
    try:
        services.audit.record(
            change,
            actor=caller.name,
            role=caller.role,
            action=action,
            now=services.now(),
            call_id=os.urandom(12).hex(),
        )
    except StateUnavailable as error:
        return state_problem(error, "done, but not recorded in the audit")
    return answer
