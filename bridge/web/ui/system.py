"""Processes, state server and broker, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.pages import render_page

__all__ = ["blueprint"]

blueprint = PageBlueprint("system", __name__, "system")

_WORST_FIRST = ("failure", "warning", "ok")
#: Findings with a problem that are shown.
_MOST = 60


@blueprint.get("")
def show() -> Response:
    """What would lose events comes first, with its remedy."""
    health: Mapping[str, Any] = read("health")
    findings = sorted(health["findings"], key=lambda finding: _WORST_FIRST.index(finding["status"]))
    problems = [finding for finding in findings if finding["status"] != "ok"]
    return render_page(
        "system.html",
        title="System",
        health=health,
        problems=problems[:_MOST],
        further=len(problems[_MOST:]),
        fine=[finding for finding in findings if finding["status"] == "ok"],
        silent=[part["name"] for part in health["parts"] if part["heartbeat_at"] is None],
        outdated={each["process"] for each in health["processes"] if each["configuration"] != health["configuration"]},
    )
