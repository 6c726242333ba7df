"""Which kinds of fields a vendor's folder reads: their odd values need an outcome in `QUIRKS.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from marshmallow import Schema, fields

from bridge import registry
from bridge.sdk.compiled_schema import (
    Duration,
    Flag,
    IsoTime,
    Number,
    UnixMillis,
    UnixTime,
    WholeNumber,
)
from bridge.sdk.vendor import Vendor

__all__ = ["kinds_of_fields"]

_TIMES = (IsoTime, UnixTime, UnixMillis, fields.DateTime)
_NUMBERS = (Number, WholeNumber, UnixTime, UnixMillis, Duration, fields.Number)


def kinds_of_fields(vendor: Vendor, expected: Iterable[Any]) -> set[str]:
    """`number`, `boolean` and `time` by the schemas of the folder; `status`, `maximum`, `start` and `finish` by what
    its fixtures become (`expected`: the documents in the `.out.json` files). A webhook has a status: its event."""
    attempts = [
        item
        for document in expected
        for item in (document.get("records", ()) if isinstance(document, dict) else document)
        if "attempt_id" in item
    ]
    kinds = set(_kinds(vendor)) | ({"status"} if vendor.split is not None else set())
    members = {"status": "vendor_status", "start": "started_at", "finish": "completed_at"}
    kinds |= {kind for kind, member in members.items() if any(attempt.get(member) for attempt in attempts)}
    if any(attempt["result"].get("max_score") for attempt in attempts):
        kinds.add("maximum")
    return kinds


def _kinds(vendor: Vendor) -> Iterator[str]:
    package = registry.package(vendor.name)
    for name, module in list(sys.modules.items()):
        if name != package and not name.startswith(f"{package}."):
            continue
        for schema in vars(module).values():
            if isinstance(schema, type) and issubclass(schema, Schema) and schema.__module__ == name:
                for field in schema._declared_fields.values():
                    yield from _kinds_of(field)


def _kinds_of(field: Any) -> Iterator[str]:
    if isinstance(field, fields.List):
        yield from _kinds_of(field.inner)
    if isinstance(field, _NUMBERS):
        yield "number"
    if isinstance(field, Flag | fields.Boolean):
        yield "boolean"
    if isinstance(field, _TIMES):
        yield "time"
