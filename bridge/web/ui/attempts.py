"""One attempt and everything that happened to it."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("attempts", __name__, "attempts")
