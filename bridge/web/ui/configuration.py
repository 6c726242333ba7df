"""The configuration as it is in use, without secrets."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("configuration", __name__, "settings")
