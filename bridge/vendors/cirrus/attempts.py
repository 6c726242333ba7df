"""Which attempt a result belongs to if a candidate handed in several under one schedule. Pure.

A result does not name its attempt; `attempt-info` lists attempts with their times. See `QUIRKS.md`, "Identity".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bridge.errors import Unreadable
from bridge.sdk.compiled_schema import WholeNumber
from bridge.sdk.vendor import Record
from bridge.vendors.cirrus.adapter import ASSIGNED, UNASSIGNED
from bridge.vendors.cirrus.attempt_state import folded
from bridge.vendors.cirrus.rows import AttemptRow
from bridge.vendors.cirrus.schema import load_attempt, read_moment

__all__ = ["assign", "attempt_record", "submitted", "unassigned"]

_Attempt = tuple[AttemptRow, Mapping[str, Any]]


def attempt_record(
    asked: Mapping[str, str],
    *,
    row: Mapping[str, Any] | None = None,
    attempt: Mapping[str, Any] | None = None,
    number: int | None = None,
    several: bool = False,
) -> Record:
    """The record of one attempt: our request and the vendor's answer, not parsed."""
    return Record(
        ASSIGNED, {"asked": dict(asked), "row": row, "attempt": attempt, "number": number, "several": several}
    )


def submitted(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many attempts the candidate handed in under the schedule, judging by the results; at least 1."""
    counts = [1]
    for row in rows:
        try:
            counts.append(WholeNumber.convert(row.get("AttemptsCount", "")) or 1)
        except ValueError:
            continue  # an unreadable count is ignored; the adapter judges the row itself
    return max(len(rows), *counts)


def assign(
    asked: Mapping[str, str], rows: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, Any]]
) -> list[Record]:
    """One record for each attempt of one candidate and schedule, from its results and the listed attempts."""
    try:
        handed_in = _handed_in(listed)
    except Unreadable as error:
        return [unassigned(asked, f"attempt-info: {error}", rows, listed)]
    total = max(submitted(rows), len(handed_in))
    if not rows and handed_in and handed_in[0][0]["number"] > 1:
        # Only the result shows how earlier attempts are counted; until it comes, the id is uncertain.
        return []
    # Attempts that were voided or never handed in are not listed, but may be counted.
    numbers = [
        loaded["number"] if place > 1 else None
        for place, (loaded, _) in enumerate(handed_in, start=1 + total - len(handed_in))
    ]
    if total == 1 and not handed_in:
        return [attempt_record(asked, row=row) for row in rows]
    if total == 1:
        return [attempt_record(asked, row=rows[0] if rows else None, attempt=handed_in[0][1])]
    owners = [_owner(handed_in, row) for row in rows]
    if None in owners or len(set(owners)) < len(owners):
        problem = f"{total} attempts under one schedule; a result cannot be assigned. Allow one attempt per schedule"
        return [unassigned(asked, problem, rows, listed)]
    results = dict(zip(owners, rows, strict=True))
    newest = max((place for place in owners if place is not None), default=-1)
    return [
        attempt_record(asked, row=results.get(place), attempt=raw, number=numbers[place], several=True)
        for place, (_, raw) in enumerate(handed_in)
        if place in results or place > newest
    ]


def _handed_in(listed: Sequence[Mapping[str, Any]]) -> list[_Attempt]:
    """Loaded and raw form of each attempt that was handed in, by number."""
    attempts = [(load_attempt(raw), raw) for raw in listed]
    handed_in = [attempt for attempt in attempts if folded(attempt[0]["status"]) in (None, "handedin")]
    return sorted(handed_in, key=lambda attempt: attempt[0]["number"])


def _owner(handed_in: Sequence[_Attempt], row: Mapping[str, Any]) -> int | None:
    """Index of the newest attempt that was handed in before the result was published; None if there is none."""
    published = _published(row)
    places = [
        place
        for place, (loaded, _) in enumerate(handed_in)
        if published is None or loaded["finished"] is None or loaded["finished"] <= published
    ]
    return places[-1] if places else None


def _published(row: Mapping[str, Any]) -> datetime | None:
    try:
        return read_moment(row.get("Published") or "")
    except ValueError:
        return None  # the adapter reports it


def unassigned(
    asked: Mapping[str, str], problem: str, rows: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, Any]]
) -> Record:
    """A record that is always unreadable to `normalise`, so that it is quarantined and somebody sees it."""
    return Record(UNASSIGNED, {"problem": problem, "asked": dict(asked), "rows": list(rows), "attempts": list(listed)})
