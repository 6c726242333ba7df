"""The shapes of backfills in the API."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.polling.backfill_jobs import REPROCESS, STATES
from bridge.web.api.members import Flag, shown_time, sound
from bridge.web.api.paging import Page, PageQuery

__all__ = ["BackfillFilter", "BackfillPage", "BackfillShape", "NewBackfill"]

_MOMENT = "2h (ago), 2026-11-01 or 2026-11-01T08:30:00Z; UTC"


class NewBackfill(Schema):
    """What to read again."""

    source = fields.String(required=True, validate=sound, metadata={"description": "Name of the source."})
    first = fields.String(
        required=True,
        validate=validate.Length(1, 40),
        metadata={"description": f"Start of the period, by when attempts finished: {_MOMENT}."},
    )
    last = fields.String(
        required=True, validate=validate.Length(1, 40), metadata={"description": f"End of the period: {_MOMENT}."}
    )
    streams = fields.List(
        fields.String(validate=[sound, validate.Length(1, 100)]),
        validate=validate.Length(max=100),
        metadata={"description": "Only these streams; default: all. In a dry run, an empty list: read none."},
    )
    reprocess = fields.String(
        load_default="none",
        validate=validate.OneOf(REPROCESS),
        metadata={"description": "First process the period's stored requests and records again: failed ones, or all."},
    )
    rate = fields.Integer(
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, 100_000),
        metadata={"description": "Maximum number of pages a minute; null: no limit."},
    )
    dry_run = Flag(load_default=False, metadata={"description": "Read and count, write nothing."})


class Stored(Schema):
    """What `reprocess` selects."""

    quarantined = fields.Integer(required=True, metadata={"description": "Quarantined records."})
    requests = fields.Integer(required=True, metadata={"description": "Stored requests."})


class BackfillShape(Schema):
    """One backfill."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(
        required=True, metadata={"description": "Name of the source and a number, with a slash between."}
    )
    source = fields.String(required=True, metadata={"description": "Name of the source."})
    state = fields.String(required=True, validate=validate.OneOf(STATES), metadata={"description": "Its state."})
    first = shown_time("Start of the period.")
    last = shown_time("End of the period.")
    streams = fields.Dict(
        required=True, metadata={"description": "Stream -> `read`, or the cursor of its next page, null before it."}
    )
    reprocess = fields.String(required=True, metadata={"description": "What is processed again before reading."})
    rate = fields.Integer(required=True, allow_none=True, metadata={"description": "Maximum pages a minute."})
    dry_run = fields.Boolean(required=True, metadata={"description": "Whether it writes nothing."})
    progress = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "How much of the period is read, 0 to 1; null if the source is not configured."},
    )
    pages = fields.Integer(required=True, metadata={"description": "Pages read."})
    records = fields.Integer(required=True, metadata={"description": "Records read."})
    new = fields.Integer(required=True, metadata={"description": "Events published."})
    calls = fields.Integer(required=True, metadata={"description": "Calls used."})
    calls_left = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Calls left in the source's budget."}
    )
    outcomes = fields.Dict(required=True, metadata={"description": "Outcome -> number of records."})
    stored = fields.Nested(
        Stored, required=True, allow_none=True, metadata={"description": "Of a dry run: what `reprocess` selects."}
    )
    waits = fields.String(required=True, metadata={"description": "Why it makes no progress; empty: it does."})
    waits_until = shown_time("Until when it waits, if that is known.", allow_none=True)
    error = fields.String(required=True, metadata={"description": "Why it failed or stopped; empty: it has not."})
    created = shown_time("When it was made.")
    updated = shown_time("When it last made progress.")
    by = fields.String(required=True, metadata={"description": "Who made it; empty: unknown."})


class BackfillPage(Page):
    """Backfills, newest first."""

    backfills: Any = fields.List(fields.Nested(BackfillShape), required=True)


class BackfillFilter(PageQuery):
    """The query of the list of backfills."""

    source = fields.String(validate=sound, metadata={"description": "Filter by source."})
