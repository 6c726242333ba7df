"""The vendor accounts: webhooks, polls, budgets."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("sources", __name__, "sources")
