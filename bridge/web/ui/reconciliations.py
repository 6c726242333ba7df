"""A vendor's list against what was published."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("reconciliations", __name__, "reconciliations")
