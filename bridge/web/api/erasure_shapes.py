"""The shapes of erasures in the API, and the rows that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from bridge.erasure.jobs import STATES, Erasure
from bridge.erasure.report import EMBEDDED, EXTERNAL
from bridge.erasure.steps import PLACES, STEPS
from bridge.web.api.filters import iso
from bridge.web.api.members import Flag, shown_time, sound

__all__ = ["ErasureShape", "NewErasure", "erasure_row"]


def _email(text: str) -> None:
    name, at, host = text.strip().partition("@")
    if not (name and at and host) or any(letter.isspace() for letter in text.strip()) or "@" in host:
        raise ValidationError("is not an e-mail address. Write one, such as sam@example.org")


def _not_blank(text: str) -> None:
    if not text.strip():
        raise ValidationError("is blank")


class NewErasure(Schema):
    """The person to erase: a candidate id or an e-mail address at one source."""

    source = fields.String(
        required=True, validate=[sound, validate.Length(1, 200)], metadata={"description": "Name of the source."}
    )
    candidate = fields.String(
        validate=[sound, validate.Length(1, 500), _not_blank],
        metadata={"description": "`data.candidate.id` or `external_id` of the person's events, exactly."},
    )
    email = fields.String(
        validate=[sound, validate.Length(3, 320), _email],
        metadata={"description": "E-mail address; letter case does not matter."},
    )
    dry_run = Flag(load_default=False, metadata={"description": "Count, remove nothing."})

    @validates_schema
    def _one(self, data: Mapping[str, Any], **_: Any) -> None:
        if len({"candidate", "email"} & data.keys()) != 1:
            raise ValidationError("give either candidate or email")


class PlaceCount(Schema):
    """What was found in one place."""

    place = fields.String(required=True, validate=validate.OneOf(PLACES), metadata={"description": "Where it was."})
    count = fields.Integer(required=True, metadata={"description": "How much of it was removed or changed."})


class ErasureReport(Schema):
    """What is promised."""

    server = fields.String(
        required=True,
        validate=validate.OneOf((EMBEDDED, EXTERNAL)),
        metadata={"description": "Whose state server it is: the bridge's own, or another."},
    )
    ended = shown_time("When everything was removed.")
    off_disk = shown_time(
        "When the server's append-only file no longer had them; null: there was nothing, or it depends on `remedy`.",
        allow_none=True,
    )
    out_of_memory = shown_time(
        "When the bytes are out of the server's memory, at the latest; null: there was nothing.", allow_none=True
    )
    remedy = fields.String(required=True, metadata={"description": "How to have that earlier; empty: nothing to do."})
    backups = fields.String(required=True, metadata={"description": "What still has the data."})


class ErasureShape(Schema):
    """One erasure. It does not reveal the person: `person` is a digest."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "Its id."})
    state = fields.String(required=True, validate=validate.OneOf(STATES), metadata={"description": "Its state."})
    source = fields.String(required=True, metadata={"description": "Name of the source."})
    person = fields.String(
        required=True, metadata={"description": "`#` and 12 digits of the SHA-256 of the id, or of the address."}
    )
    dry_run = fields.Boolean(required=True, metadata={"description": "Whether it removes nothing."})
    created = shown_time("When it was made.")
    by = fields.String(required=True, metadata={"description": "Who made it."})
    updated = shown_time("When it last made progress.")
    step = fields.String(
        required=True,
        validate=validate.OneOf((*STEPS, "")),
        metadata={"description": "What it is doing; empty: it has ended."},
    )
    progress = fields.Float(required=True, metadata={"description": "Share of its steps that are done, 0 to 1."})
    scanned = fields.Integer(required=True, metadata={"description": "Approximate number of entries read so far."})
    total = fields.Integer(required=True, metadata={"description": "Number of all things found."})
    found = fields.List(fields.Nested(PlaceCount), required=True)
    oldest = shown_time("Time of the oldest stored entry that was found.", allow_none=True)
    newest = shown_time("Time of the newest one.", allow_none=True)
    error = fields.String(
        required=True, metadata={"description": "Why it failed, or what holds it up; empty: nothing."}
    )
    report = fields.Nested(ErasureReport, required=True, allow_none=True)


def erasure_row(job: Erasure) -> dict[str, Any]:
    """One erasure as the API shows it."""
    ended = job.state != "running"
    return {
        "id": job.id,
        "state": job.state,
        "source": job.source,
        "person": job.digest,
        "dry_run": job.dry_run,
        "created": iso(job.created),
        "by": job.by,
        "updated": iso(job.updated),
        "step": "" if ended else STEPS[job.step],
        "progress": 1.0 if job.state == "done" else round(job.step / len(STEPS), 4),
        "scanned": job.scanned,
        "total": sum(job.found.counts.values()),
        "found": [{"place": place, "count": count} for place, count in job.found.counts.items()],
        "oldest": _moment(job.found.first),
        "newest": _moment(job.found.last),
        "error": job.error,
        "report": _report(job) if ended and job.report is not None else None,
    }


def _report(job: Erasure) -> dict[str, Any]:
    report = dict(job.report or {})
    return report | {name: _moment(report[name]) for name in ("ended", "off_disk", "out_of_memory")}


def _moment(value: float | None) -> str | None:
    return None if value is None else iso(value)
