"""The shapes of what is done to several watches in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from bridge.web.api.members import Flag, sound
from bridge.web.api.watch_shapes import NewWatch

__all__ = ["MAX_BATCH", "Cancelled", "NewWatches", "Registered", "ToCancel"]

#: Watches, or ids, in one call.
MAX_BATCH = 500
#: Longest CSV file, characters; a body may have 256 kB.
_CSV_LENGTH = 200_000


class NewWatches(Schema):
    """Expectations to register together: either `watches`, or the text of a CSV file."""

    watches = fields.List(
        fields.Nested(NewWatch),
        validate=validate.Length(1, MAX_BATCH),
        metadata={"description": "What to expect."},
    )
    csv = fields.String(
        validate=validate.Length(1, _CSV_LENGTH),
        metadata={
            "description": "A header, then a line for each attempt: `source`, `due`, `deadline`, `label`, and a column "
            "for each member of the reference. Problems have paths such as `csv.3.reference`: 3 is the line."
        },
    )
    source = fields.String(validate=sound, metadata={"description": "Source of lines of `csv` that name none."})
    dry_run = Flag(load_default=False, metadata={"description": "Check them, register nothing."})

    @validates_schema
    def _one_of_them(self, data: Mapping[str, Any], **_: Any) -> None:
        if ("watches" in data) == ("csv" in data):
            raise ValidationError("give either watches or csv")


class Registered(Schema):
    """What was registered, or would be."""

    ids = fields.List(
        fields.String(), required=True, metadata={"description": "Ids of the watches, in the order of the call."}
    )


class ToCancel(Schema):
    """Which watches to cancel: either `ids`, or all expected attempts of `source`."""

    ids = fields.List(
        fields.String(validate=sound),
        validate=validate.Length(1, MAX_BATCH),
        metadata={"description": "Ids of watches."},
    )
    source = fields.String(validate=sound, metadata={"description": "All expected attempts of this source."})
    dry_run = Flag(load_default=False, metadata={"description": "Count them, cancel nothing."})

    @validates_schema
    def _one_of_them(self, data: Mapping[str, Any], **_: Any) -> None:
        if ("ids" in data) == ("source" in data):
            raise ValidationError("give either ids or source")


class Cancelled(Schema):
    """What was cancelled, or would be."""

    cancelled = fields.Integer(required=True, metadata={"description": "Number of watches."})
    unknown_ids = fields.List(
        fields.String(), required=True, metadata={"description": "Ids under which there is no watch."}
    )
