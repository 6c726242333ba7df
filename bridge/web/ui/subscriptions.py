"""The receivers: backlog, circuit, test."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("subscriptions", __name__, "subscriptions")
