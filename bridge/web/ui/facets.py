"""Facets whose values the API knows, such as the sources of a list."""

from __future__ import annotations

from bridge.web.ui.calls import read
from bridge.web.ui.filter_text import quoted

__all__ = ["values_of"]

#: More of them would not help; the filter box suggests them all.
_MOST = 12


def values_of(resource: str, name: str) -> list[str]:
    """The terms `name:value` for the values of a field of a list, as `Listing.facets` takes them; [] for too many."""
    fields = read(f"fields/{resource}")["fields"]
    values = next((field["values"] for field in fields if field["name"] == name), ())
    return [f"{name}:{quoted(value)}" for value in values] if 1 < len(values) <= _MOST else []
