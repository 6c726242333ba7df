"""`format` of http and kombu subscriptions: what it needs, and which events have no statement."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from bridge.config.yaml_document import Document, KeyPath
from schemas.event import ATTEMPT_TYPES
from schemas.formats import CLOUDEVENTS, XAPI
from schemas.notices import NOTICE_TYPES

__all__ = ["FORMAT_FIELDS", "XAPI_FIELDS", "check_format"]

XAPI_FIELDS = frozenset({"actor", "home_page"})
#: The fields of SubscriptionSchema that belong to a format.
FORMAT_FIELDS = XAPI_FIELDS | {"format"}


def check_format(given: set[str], data: Mapping[str, Any], path: KeyPath, document: Document) -> None:
    """Add the problems of the format of a subscription of http or kombu."""
    if "format" in given and "format" not in data:
        return  # it is refused already, and its needs are unknown
    form = data.get("format", CLOUDEVENTS)
    for key in sorted(given & XAPI_FIELDS) if form != XAPI else ():
        document.add((*path, key), f"belongs to format xapi, not to {form}. Remedy: remove it")
    is_http = data.get("transport") == "http"
    if is_http and "secrets" in given and data.get("secrets") == []:
        document.add((*path, "secrets"), "is empty. Remedy: attempt-bridge subscriptions secret prints a new one")
    if form == CLOUDEVENTS:
        if is_http and "secrets" not in given:
            document.add((*path, "secrets"), "missing: transport http needs it")
        return
    if is_http and not given & {"secrets", "authorization"}:
        document.add(
            (*path, "authorization"),
            f"missing: format {form} needs it, or secrets. Remedy: add basic or bearer authorization",
        )
    for place, pattern in enumerate((data.get("filter") or {}).get("types", ())):
        notice = next((kind for kind in NOTICE_TYPES if fnmatchcase(kind, pattern)), None)
        if notice is not None:
            more = "" if notice == pattern else f", one of {pattern},"
            document.add(
                (*path, "filter", "types", place),
                f"{notice}{more} is not a result, and format {form} has results only. Remedy: leave types out, or name "
                f"some of {', '.join(ATTEMPT_TYPES)}",
            )
