"""Writes the public contract: JSON Schemas generated from the marshmallow shapes, and the AsyncAPI document.

`python -m schemas.export [DIRECTORY]`; without an argument they go next to this file, where they are checked in.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from schemas.envelope import SCHEMA_VERSION
from schemas.notice_shapes import NoticeDataSchema, NoticeSchema
from schemas.shapes import DataSchema, EventSchema

__all__ = ["documents", "write"]

HERE = Path(__file__).parent
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def documents() -> dict[str, str]:
    """File name -> text of all documents against which a subscriber can check events."""
    return {
        f"event-{SCHEMA_VERSION}.schema.json": _document(EventSchema, "event"),
        f"attempt-{SCHEMA_VERSION}.schema.json": _document(DataSchema, "attempt"),
        f"notice-event-{SCHEMA_VERSION}.schema.json": _document(NoticeSchema, "notice-event"),
        f"notice-{SCHEMA_VERSION}.schema.json": _document(NoticeDataSchema, "notice"),
        "asyncapi.yaml": (HERE / "asyncapi.yaml").read_text(encoding="utf-8"),
    }


def write(directory: Path) -> list[Path]:
    """Write the documents into an existing directory and return their paths."""
    written = []
    for name, text in documents().items():
        written.append(directory / name)
        written[-1].write_text(text, encoding="utf-8")
    return written


def _document(shape: type[Schema], name: str) -> str:
    # OpenAPI 3.1 schemas are JSON Schema 2020-12, except for the place of shared schemas.
    spec = APISpec(
        title=name,
        version=SCHEMA_VERSION,
        openapi_version="3.1.0",
        plugins=[MarshmallowPlugin(schema_name_resolver=_name)],
    )
    spec.components.schema(_name(shape), schema=shape)
    shared: dict[str, Any] = spec.to_dict()["components"]["schemas"]
    document = {
        "$schema": _DIALECT,
        "$id": f"urn:attempt-bridge:schema:{name}:{SCHEMA_VERSION}",
        "title": _name(shape),
        "description": (shape.__doc__ or "").strip(),
        **shared.pop(_name(shape)),
        **getattr(shape, "also", {}),
        "$defs": shared,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return text.replace("#/components/schemas/", "#/$defs/") + "\n"


def _name(shape: Any) -> str:
    """`AttemptSchema`, its instance or a function that makes one -> `Attempt`."""
    if not isinstance(shape, (type, Schema)):
        shape = shape()
    kind = shape if isinstance(shape, type) else type(shape)
    return kind.__name__.removesuffix("Schema")


if __name__ == "__main__":
    for path in write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE):
        sys.stdout.write(f"wrote {path}\n")
