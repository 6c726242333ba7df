"""Events as rows of the tables. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.errors import Rejected

__all__ = ["Batch", "Cell", "Record", "Row", "batch_of", "record_of"]

#: A value of a column, as JSON has it.
Cell = str | int | float | bool | None
#: In the order of the columns of `bridge/sql/layout.py`.
Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One event as it is written. `attempt`: None for a notice. `is_test`: it is not to be stored."""

    event: Row
    attempt: Row | None
    is_test: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What is written together: at most one row for each key, in the order of the keys, so that writers never
    deadlock."""

    attempts: Sequence[Row]
    events: Sequence[Row]


def record_of(body: bytes, source: str) -> Record:
    """The rows of an event in any projection; `source`: name of its source. Raises `Rejected`."""
    try:
        text = body.decode()
        event = json.loads(text)
        attempt = _attempt_row(event, source, text) if "attempt" in event["data"] else None
        return Record(_event_row(event, source, text), attempt, event.get("bridgetest") is True)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Rejected(
            f"event without members that its type has: {type(error).__name__}. Remedy: replay it from the journal",
            reason="row_refused",
        ) from error


def batch_of(records: Iterable[Record]) -> Batch:
    """What has to be written of several events: the newest revision of each attempt, and each event once."""
    attempts: dict[tuple[Cell, ...], Row] = {}
    events: dict[Cell, Row] = {}
    for record in records:
        events.setdefault(record.event[0], record.event)
        row = record.attempt
        if row is not None:
            known = attempts.get(row[:2])
            if known is None or _order(row) > _order(known):
                attempts[row[:2]] = row
    return Batch([attempts[key] for key in sorted(attempts, key=str)], [events[key] for key in sorted(events, key=str)])


def _order(row: Row) -> tuple[Any, Any]:
    """The order by which the statements compare: a voided attempt replaces one with the same revision."""
    return row[2], row[4]


def _event_row(event: Mapping[str, Any], source: str, text: str) -> Row:
    attempt = event["data"].get("attempt", {})
    return (
        event["id"],
        event["type"],
        source,
        event["subject"],
        attempt.get("id"),
        attempt.get("revision"),
        event.get("bridgevendor"),
        event.get("bridgeorigin"),
        event["time"],
        event["recordedtime"],
        text,
    )


def _attempt_row(event: Mapping[str, Any], source: str, text: str) -> Row:
    data = event["data"]
    attempt, candidate, result = data["attempt"], data.get("candidate", {}), data.get("result", {})
    assessment = data.get("assessment", {})
    group = assessment.get("group") or {}
    return (
        source,
        attempt["id"],
        attempt["revision"],
        attempt["status"],
        attempt["status"] == "voided",
        event.get("bridgevendor"),
        candidate.get("id"),
        candidate.get("external_id"),
        candidate.get("email"),
        candidate.get("name"),
        assessment.get("id"),
        assessment.get("name"),
        group.get("id"),
        group.get("name"),
        result.get("score"),
        result.get("max_score"),
        result.get("percentage"),
        result.get("pass_mark_percentage"),
        result.get("passed"),
        result.get("grade"),
        result.get("grading"),
        attempt.get("started_at"),
        attempt.get("completed_at"),
        attempt.get("duration_seconds"),
        event["recordedtime"],
        event["id"],
        text,
    )
