"""Handing events to subscriptions, with every try."""

from __future__ import annotations

from bridge.web.ui.blueprint import PageBlueprint

__all__ = ["blueprint"]

blueprint = PageBlueprint("deliveries", __name__, "deliveries")
