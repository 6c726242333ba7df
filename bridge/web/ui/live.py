"""Events and tries as they happen."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("live", __name__, "live")
