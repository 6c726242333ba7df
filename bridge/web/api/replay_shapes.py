"""The shapes of replay jobs in the API, and the rows that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from bridge.delivery.record import DeadLetter
from bridge.delivery.replay_jobs import KINDS, QUARANTINE, STATES, Replay, StoredReplay
from bridge.delivery.replay_making import EXAMPLES, Example, Preview
from bridge.journal import Quarantined, StoredEvent
from bridge.query import MAX_LENGTH
from bridge.web.api.filters import iso
from bridge.web.api.members import Flag, shown_time, sound

__all__ = ["MAX_IDS", "Made", "NewReplay", "ReplayShape", "preview_row", "replay_row"]

#: Ids in one call.
MAX_IDS = 500
_MOMENT = "2h (ago), 2026-11-01 or 2026-11-01T08:30:00Z; UTC."


class NewReplay(Schema):
    """What to replay: `ids`, a failure group, or everything that matches `filter` in the period."""

    what = fields.String(required=True, validate=validate.OneOf(KINDS), metadata={"description": "What is replayed."})
    ids = fields.List(
        fields.String(validate=[sound, validate.Length(1, 300)]),
        validate=validate.Length(1, MAX_IDS),
        metadata={"description": "Only these: ids of dead letters, events or quarantined records."},
    )
    group = fields.String(
        validate=[sound, validate.Length(1, 300)], metadata={"description": "The dead letters of this failure group."}
    )
    filter = fields.String(
        validate=[sound, validate.Length(max=MAX_LENGTH)], metadata={"description": "A filter, as for lists."}
    )
    since = fields.String(validate=validate.Length(1, 40), metadata={"description": f"Start: {_MOMENT}"})
    until = fields.String(validate=validate.Length(1, 40), metadata={"description": f"End: {_MOMENT}"})
    subscriptions = fields.List(
        fields.String(validate=[sound, validate.Length(1, 100)]),
        validate=validate.Length(1, 500),
        metadata={"description": "For dead letters: whose; for events: to which. Default: all configured ones."},
    )
    from_archive = fields.String(
        validate=[sound, validate.Length(1, 100)],
        metadata={
            "description": "For events: those that have left the journal, from the tables of this sql subscription."
        },
    )
    rate = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0.01, 100_000),
        metadata={
            "description": "Maximum number a second; null: 25 while new events arrive, else as fast as they are sent."
        },
    )
    preview = Flag(load_default=False, metadata={"description": "Count and show examples, replay nothing."})

    @validates_schema
    def _fits(self, data: Mapping[str, Any], **_: Any) -> None:
        alone = {"ids": {"group", "filter", "since", "until"}, "group": {"filter", "since"}}
        if any(name in data and others & data.keys() for name, others in alone.items()):
            raise ValidationError("give ids, or a group with until, or a filter with a period")
        if "group" in data and data["what"] != "dead_letters":
            raise ValidationError({"group": ["only dead letters are in failure groups"]})
        if "subscriptions" in data and (data["what"] == QUARANTINE or "group" in data):
            raise ValidationError({"subscriptions": ["not for quarantined records or a group"]})
        if "from_archive" in data and (data["what"] != "events" or "ids" in data):
            raise ValidationError({"from_archive": ["only for events, and not with ids: filter by id"]})
        if data["what"] == "events" and not {"ids", "filter", "since", "from_archive"} & data.keys():
            raise ValidationError("events need ids, a filter or since")


def _number(meaning: str) -> fields.Integer:
    return fields.Integer(required=True, metadata={"description": meaning})


def _owner() -> fields.String:
    return fields.String(required=True, metadata={"description": "Name of the subscription, or `quarantine`."})


class PreviewCount(Schema):
    """How many would be replayed to one subscription."""

    subscription = _owner()
    count = _number("Number of items.")


class _Counts(Schema):
    replayed = _number("Sent again; for quarantined records: read and published.")
    waiting = _number("Not sent again, because their deliveries are under way already.")
    gone = _number("No longer there when their turn came.")
    excluded = _number("Excluded by the filter of the job or of the subscription; for an archive also: in the journal.")
    failed = _number("Without their event, or still unreadable.")


class ReplayCounts(_Counts):
    """What became of the items of one subscription."""

    subscription = _owner()


class ExampleRow(Schema):
    """One item that would be replayed."""

    id = fields.String(required=True, metadata={"description": "Id of the dead letter, event or quarantined record."})
    subscription = _owner()
    event_id = fields.String(required=True, allow_none=True, metadata={"description": "The event's id."})
    type = fields.String(required=True, allow_none=True, metadata={"description": "Type of the event."})
    source = fields.String(required=True, metadata={"description": "Name of the source."})
    attempt = fields.String(required=True, allow_none=True, metadata={"description": "The attempt's id."})


class PreviewShape(Schema):
    """What would be replayed."""

    total = _number("Number of items.")
    complete = fields.Boolean(
        required=True, metadata={"description": "False: there are too many to count; these are among the oldest."}
    )
    excluded = _number(
        "Excluded by the filter of the call or of the subscription; for an archive also: in the journal."
    )
    unreadable = _number("Without their event: they cannot be replayed.")
    by_subscription = fields.List(fields.Nested(PreviewCount), required=True)
    examples = fields.List(
        fields.Nested(ExampleRow), required=True, metadata={"description": f"The oldest ones, {EXAMPLES} at most."}
    )
    unknown_ids = fields.List(fields.String(), required=True, metadata={"description": "Ids that were not found."})
    at = shown_time("When this was counted: as `until` of the next call it leaves out what comes later.")
    filter = fields.String(required=True, metadata={"description": "The filter and the period, with absolute times."})


class ReplayShape(_Counts):
    """One replay job."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "Also the value of the header `bridge-replay`."})
    state = fields.String(required=True, validate=validate.OneOf(STATES), metadata={"description": "Its state."})
    what = fields.String(required=True, validate=validate.OneOf(KINDS), metadata={"description": "What is replayed."})
    subscriptions = fields.List(
        fields.String(), required=True, metadata={"description": "Those it replays from, or to."}
    )
    from_archive = fields.String(
        required=True, metadata={"description": "The sql subscription whose tables it reads; empty: none."}
    )
    filter = fields.String(required=True, metadata={"description": "With absolute times; empty: everything."})
    group = fields.String(required=True, metadata={"description": "Fingerprint of the failure group; empty: any."})
    ids = fields.Integer(required=True, allow_none=True, metadata={"description": "Number of ids that were given."})
    rate = fields.Float(required=True, allow_none=True, metadata={"description": "Maximum number a second."})
    created = shown_time("When it was made.")
    by = fields.String(required=True, metadata={"description": "Who made it."})
    updated = shown_time("When it last changed.")
    progress = fields.Float(required=True, metadata={"description": "How much of it is done, 0 to 1."})
    waits = fields.String(
        required=True, metadata={"description": "Why it makes no progress, or is slow; empty: neither."}
    )
    error = fields.String(required=True, metadata={"description": "Why it failed; empty: it has not."})
    by_subscription = fields.List(fields.Nested(ReplayCounts), required=True)


class Made(Schema):
    """The job that was made, null for a preview; and what it replays."""

    replay = fields.Nested(ReplayShape, required=True, allow_none=True)
    preview = fields.Nested(PreviewShape, required=True)


def replay_row(stored: StoredReplay) -> dict[str, Any]:
    """One job as the API shows it."""
    job = stored.job
    named = [part.entries for part in job.parts if part.entries is not None]
    return {
        "id": job.id,
        "state": stored.state,
        "what": job.kind,
        "subscriptions": job.subscriptions,
        "from_archive": job.archive,
        "filter": job.filter,
        "group": job.group,
        "ids": sum(map(len, named)) if named else None,
        "rate": job.rate,
        "created": iso(job.created),
        "by": job.by,
        "updated": iso(stored.updated),
        "progress": round(stored.share, 4),
        "waits": stored.waits,
        "error": stored.error,
        **stored.counts,
        "by_subscription": [
            {"subscription": name, **counts} for name, counts in sorted(stored.by_subscription.items())
        ],
    }


def preview_row(preview: Preview, job: Replay, unknown: list[str]) -> dict[str, Any]:
    """The preview of a job as the API shows it. `unknown`: ids that were not found."""
    return {
        "total": preview.total,
        "complete": preview.complete,
        "excluded": preview.excluded,
        "unreadable": preview.unreadable,
        "by_subscription": [{"subscription": name, "count": count} for name, count in sorted(preview.counts.items())],
        "examples": [_example(example) for example in preview.examples],
        "unknown_ids": unknown,
        "at": iso(job.created),
        "filter": job.filter,
    }


def _example(example: Example) -> dict[str, Any]:
    item = example.candidate.item
    names: dict[str, str | None]
    if isinstance(item, DeadLetter):
        delivery = item.delivery
        ident = f"{example.subscription}/{item.id}"
        names = {"event_id": delivery.id, "type": delivery.type, "source": delivery.source, "attempt": delivery.attempt}
    elif isinstance(item, StoredEvent):
        ident = item.id
        names = {"event_id": item.id, "type": item.type, "source": item.source, "attempt": item.attempt}
    elif isinstance(item, Quarantined):
        ident = f"{QUARANTINE}/{item.entry_id}"
        names = {"event_id": None, "type": None, "source": item.source, "attempt": None}
    else:
        raise TypeError("an example that is gone")
    return {"id": ident, "subscription": example.subscription or QUARANTINE, **names}
