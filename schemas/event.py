"""The published event about one normalised attempt, as frozen dataclasses; its envelope is in `schemas/envelope.py`.

The marshmallow declaration of the same shape is in `schemas/shapes.py`; a test keeps the two equal.
`to_json` gives the bytes that stand in the journal and travel on every transport.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from schemas.envelope import MEDIA_TYPE, SCHEMA_VERSION, Envelope, event_id, format_time, source_path

__all__ = [
    "ATTEMPT_TYPES",
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
#: Every type of event that carries an attempt's result; what a subscription gets that names none.
ATTEMPT_TYPES = (COMPLETED, REVISED, VOIDED)


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
class Event(Envelope):
    """One published, immutable CloudEvent about an attempt."""

    data: Data

    def to_json(self) -> bytes:
        """The event as it is stored and sent."""
        return self.encode(_data(self.data))


def minimal(event: Mapping[str, Any]) -> dict[str, Any]:
    """The projection `data: minimal`: candidate reduced to ids, links and what only the vendor knows dropped.

    Of `extensions` the label of an expectation stays: the others may hold answers of a person. The rest stays, the id
    too.

    A notice (`schemas/notices.py`) holds nobody's name and stays as it is.
    """
    data = dict(event["data"])
    if "candidate" not in data:
        return dict(event)
    candidate = data["candidate"]
    data["candidate"] = {
        "id": candidate["id"],
        "external_id": candidate["external_id"],
        "email": None,
        "name": None,
    }
    label = data.get("extensions", {}).get("expectation")
    data["extensions"] = {} if label is None else {"expectation": label}
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
