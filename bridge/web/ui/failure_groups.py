"""Failures of one kind, together."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("failure_groups", __name__, "failure-groups")
