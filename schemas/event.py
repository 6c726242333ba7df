"""The published event about one normalised attempt, as frozen dataclasses; its envelope is in `schemas/envelope.py`.

The marshmallow declaration of the same shape is in `schemas/shapes.py`; a test keeps the two equal.
`to_json` returns the bytes that are in the journal and that every transport delivers.
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
#: The types of events with an attempt's result; the default of a subscription.
ATTEMPT_TYPES = (COMPLETED, REVISED, VOIDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One sitting of one test by one candidate."""

    #: Unique within its source.
    id: str
    #: `completed` or `voided`.
    status: str
    #: 1, then one higher with each change of the result.
    revision: int = 1
    #: When it was started, aware UTC.
    started_at: datetime | None = None
    #: When it was completed, aware UTC.
    completed_at: datetime | None = None
    #: Whole seconds.
    duration_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Who took the test, as the vendor says. Unknown is None, never an empty string."""

    #: The vendor's id.
    id: str | None = None
    #: The organisation's id, if the vendor was given it.
    external_id: str | None = None
    #: E-mail address.
    email: str | None = None
    #: Full name.
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Where the test was given: a link, a group, a schedule, a course."""

    #: The vendor's kind of group.
    kind: str
    #: The vendor's id.
    id: str
    #: The vendor's name for it.
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The test that was taken."""

    #: The vendor's id.
    id: str
    #: The vendor's name for it.
    name: str | None = None
    #: Where it was given; None if not known.
    group: Group | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Scores as Decimal, percentages from 0 to 100. Unknown is None."""

    #: Points reached.
    score: Decimal | None = None
    #: Points that can be reached.
    max_score: Decimal | None = None
    #: As the vendor calculates it.
    percentage: Decimal | None = None
    #: The lowest percentage that passes.
    pass_mark_percentage: Decimal | None = None
    #: The vendor's decision; None without a pass mark.
    passed: bool | None = None
    #: The vendor's grade.
    grade: str | None = None
    #: `final`, `provisional`, `pending` or `not_scored`.
    grading: str = "final"
    #: On `attempt.revised`: the replaced result, as in the earlier event.
    previous: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A scored part of the test; sections nest."""

    #: The vendor's id.
    id: str | None = None
    #: The vendor's name for it.
    name: str | None = None
    #: Points reached.
    score: Decimal | None = None
    #: Points that can be reached.
    max_score: Decimal | None = None
    #: As the vendor calculates it.
    percentage: Decimal | None = None
    #: The vendor's decision.
    passed: bool | None = None
    #: Its parts.
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorFacts:
    """Where the attempt came from."""

    #: Name of the vendor.
    name: str
    #: Name of the configured source.
    source: str
    #: The vendor's own status.
    status: str | None = None
    #: The vendor's own ids: name -> id, as text.
    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Addresses; None if there is none."""

    #: The vendor's report.
    report: str | None = None
    #: The vendor's certificate.
    certificate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The `data` member of the event."""

    #: The attempt.
    attempt: Attempt
    #: Who took the test.
    candidate: Candidate
    #: Which test.
    assessment: Assessment
    #: The result.
    result: Result
    #: Where it came from.
    vendor: VendorFacts
    #: Results of the parts of the test.
    sections: tuple[Section, ...] = ()
    #: What is odd about the result.
    flags: tuple[str, ...] = ()
    #: Addresses.
    links: Links = Links()
    #: Facts that only this vendor has, and the label of an expectation.
    extensions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Envelope):
    """One published, immutable CloudEvent about an attempt."""

    #: The `data` member.
    data: Data

    def to_json(self) -> bytes:
        """The event as it is stored and sent."""
        return self.encode(_data(self.data))


def minimal(event: Mapping[str, Any]) -> dict[str, Any]:
    """The projection `data: minimal`: only the candidate's ids, no links, and only the label among the `extensions`.

    Other extensions may hold a person's answers. Everything else stays, including the event id. A notice
    (`schemas/notices.py`) names nobody and stays as it is.
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
    data["links"] = {"report": None, "certificate": None}
    return {**event, "data": data}


def _number(value: Decimal | None) -> float | None:
    # At most 4 decimals in JSON, which has no Decimal.
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
        "links": {"report": data.links.report, "certificate": data.links.certificate},
        "extensions": dict(data.extensions),
    }
