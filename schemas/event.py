"""The published event: a CloudEvents 1.0 envelope around one normalised attempt, as frozen dataclasses.

The marshmallow declaration of the same shape is in `schemas/shapes.py`; a test keeps the two equal.
`to_json` gives the bytes that stand in the journal and travel on every transport.

Source: CloudEvents 1.0.2 `spec.md` and `formats/json-format.md` (attributes, structured mode).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

__all__ = [
    "COMPLETED",
    "MEDIA_TYPE",
    "REVISED",
    "SCHEMA_VERSION",
    "VOIDED",
    "Assessment",
    "Attempt",
    "Candidate",
    "Data",
    "Event",
    "Group",
    "Links",
    "Result",
    "Section",
    "VendorFacts",
    "event_id",
    "format_time",
    "minimal",
    "source_path",
]

COMPLETED = "attempt.completed"
REVISED = "attempt.revised"
VOIDED = "attempt.voided"

#: Media type of the structured mode (CloudEvents JSON format, section 3).
MEDIA_TYPE = "application/cloudevents+json"
#: Changes with every change of the schema of `data`; the type only with an incompatible one.
SCHEMA_VERSION = "1.0"
_NAMESPACE = uuid.NAMESPACE_URL.bytes
#: `json.dumps` with arguments would build one for each event.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One sitting of one test by one candidate. `id` is unique in its source; `duration_seconds` in whole seconds."""

    id: str
    status: str
    revision: int = 1
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Who sat the test, in the vendor's words. Unknown is None, never an empty string."""

    id: str | None = None
    external_id: str | None = None
    email: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Where the test was given: a link, a group, a schedule, a course."""

    kind: str
    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The test that was sat."""

    id: str
    name: str | None = None
    group: Group | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Scores as Decimal, percentages 0-100. `passed` is the vendor's word, None when there is no pass mark.

    `previous` holds the replaced result on `attempt.revised`, as it stood in the earlier event.
    """

    score: Decimal | None = None
    max_score: Decimal | None = None
    percentage: Decimal | None = None
    pass_mark_percentage: Decimal | None = None
    passed: bool | None = None
    grade: str | None = None
    grading: str = "final"
    previous: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A scored part of the test; sections nest."""

    id: str | None = None
    name: str | None = None
    score: Decimal | None = None
    max_score: Decimal | None = None
    percentage: Decimal | None = None
    passed: bool | None = None
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorFacts:
    """Where the news came from: vendor, configured source, the vendor's own status word and ids (all as text)."""

    name: str
    source: str
    status: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Addresses. `request` points to the stored request; None when the news came by poll, which can be read again."""

    report: str | None = None
    certificate: str | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The `data` member of the event."""

    attempt: Attempt
    candidate: Candidate
    assessment: Assessment
    result: Result
    vendor: VendorFacts
    sections: tuple[Section, ...] = ()
    flags: tuple[str, ...] = ()
    links: Links = Links()
    extensions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One published, immutable CloudEvent. Attributes carry no personal data: anybody on the way may log them."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    dataschema: str
    recordedtime: datetime
    partitionkey: str
    bridgevendor: str
    bridgeorigin: str
    data: Data
    specversion: str = "1.0"
    datacontenttype: str = "application/json"

    def to_json(self) -> bytes:
        """The event as it is stored and sent: compact UTF-8 JSON, members in the order of the contract."""
        return _ENCODER.encode(
            {
                "specversion": self.specversion,
                "id": self.id,
                "source": self.source,
                "type": self.type,
                "subject": self.subject,
                "time": format_time(self.time),
                "datacontenttype": self.datacontenttype,
                "dataschema": self.dataschema,
                "recordedtime": format_time(self.recordedtime),
                "partitionkey": self.partitionkey,
                "bridgevendor": self.bridgevendor,
                "bridgeorigin": self.bridgeorigin,
                "data": _data(self.data),
            }
        ).encode()


def source_path(bridge_name: str, source: str) -> str:
    """The CloudEvents `source` of a configured source: `/acme/sources/eu-classmarker`."""
    return f"/{bridge_name}/sources/{source}"


def event_id(source: str, attempt_id: str, event_type: str, revision: int) -> str:
    """UUIDv5 over what makes the event unique, so that the same news has the same id even after a loss of all state.

    `source` is the CloudEvents attribute (`source_path`). The namespace is fixed for ever: receivers remember ids.
    """
    name = f"{source}#{attempt_id}#{event_type}#{revision}"
    # What str(uuid.uuid5(...)) gives, at an eighth of its cost: RFC 9562, section 5.5.
    digits = hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`: `2026-11-20T14:52:41.000Z`. `moment` must be aware."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def minimal(event: Mapping[str, Any]) -> dict[str, Any]:
    """The projection `data: minimal`: candidate reduced to ids, links dropped; everything else stays, the id too."""
    data = dict(event["data"])
    candidate = data["candidate"]
    data["candidate"] = {
        "id": candidate["id"],
        "external_id": candidate["external_id"],
        "email": None,
        "name": None,
    }
    data["links"] = {"report": None, "certificate": None, "request": None}
    return {**event, "data": data}


def _number(value: Decimal | None) -> float | None:
    # At most 4 decimals on the wire; Decimal itself has no JSON form.
    return None if value is None else round(float(value), 4)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _section(section: Section) -> dict[str, Any]:
    return {
        "id": section.id,
        "name": section.name,
        "score": _number(section.score),
        "max_score": _number(section.max_score),
        "percentage": _number(section.percentage),
        "passed": section.passed,
        "sections": [_section(inner) for inner in section.sections],
    }


def _data(data: Data) -> dict[str, Any]:
    attempt, candidate, assessment, result = data.attempt, data.candidate, data.assessment, data.result
    group = assessment.group
    return {
        "attempt": {
            "id": attempt.id,
            "revision": attempt.revision,
            "status": attempt.status,
            "started_at": _time(attempt.started_at),
            "completed_at": _time(attempt.completed_at),
            "duration_seconds": attempt.duration_seconds,
        },
        "candidate": {
            "id": candidate.id,
            "external_id": candidate.external_id,
            "email": candidate.email,
            "name": candidate.name,
        },
        "assessment": {
            "id": assessment.id,
            "name": assessment.name,
            "group": None if group is None else {"kind": group.kind, "id": group.id, "name": group.name},
        },
        "result": {
            "score": _number(result.score),
            "max_score": _number(result.max_score),
            "percentage": _number(result.percentage),
            "pass_mark_percentage": _number(result.pass_mark_percentage),
            "passed": result.passed,
            "grade": result.grade,
            "grading": result.grading,
            "previous": result.previous,
        },
        "sections": [_section(section) for section in data.sections],
        "flags": list(data.flags),
        "vendor": {
            "name": data.vendor.name,
            "source": data.vendor.source,
            "status": data.vendor.status,
            "ids": dict(data.vendor.ids),
        },
        "links": {"report": data.links.report, "certificate": data.links.certificate, "request": data.links.request},
        "extensions": dict(data.extensions),
    }
