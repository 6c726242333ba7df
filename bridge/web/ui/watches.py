"""Attempts that are expected or not settled."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("watches", __name__, "watches")
