"""Deliveries that were given up."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("dead_letters", __name__, "dead-letters")
