"""Webhooks as they came, also the refused ones."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("requests", __name__, "requests")
