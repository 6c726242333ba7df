"""Which events a subscription gets. Pure."""

from __future__ import annotations

import json

from bridge.config.model import Filter

__all__ = ["takes_event"]


def takes_event(event_filter: Filter, *, event_type: str, source: str, event: bytes) -> bool:
    """Whether the filter includes the event; its JSON is parsed only if the filter needs it.

    Raises `ValueError` or `KeyError` if it cannot be read.
    """
    if not event_filter.takes_header(event_type, source):
        return False
    return not event_filter.reads_event or event_filter.takes_event(json.loads(event))
