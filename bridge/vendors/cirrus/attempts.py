"""Which attempt a result belongs to, when a candidate handed in several under one schedule. Pure.

A result names no attempt; `attempt-info` lists them with their times. The reasons are in `QUIRKS.md`, "Identity".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bridge.errors import Unreadable
from bridge.sdk.compiled_schema import WholeNumber
from bridge.sdk.vendor import Record
from bridge.vendors.cirrus.adapter import FOUND, UNASSIGNED
from bridge.vendors.cirrus.schema import IsoTime, load_attempt
from bridge.vendors.cirrus.standing import letters

__all__ = ["assign", "found", "submitted", "unassigned"]

_Attempt = tuple[Mapping[str, Any], Mapping[str, Any]]


def found(
    asked: Mapping[str, str],
    *,
    row: Mapping[str, Any] | None = None,
    attempt: Mapping[str, Any] | None = None,
    number: int | None = None,
    several: bool = False,
) -> Record:
    """The record of one attempt: what we asked with, and what the vendor answered, as it spells it."""
    return Record(FOUND, {"asked": dict(asked), "row": row, "attempt": attempt, "number": number, "several": several})


def submitted(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many attempts the candidate has handed in under the schedule, as far as the results tell; at least 1."""
    counts = [1]
    for row in rows:
        try:
            counts.append(WholeNumber.convert(row.get("AttemptsCount", "")) or 1)
        except ValueError:
            continue  # a count that is none tells nothing; the row itself is the adapter's to judge
    return max(len(rows), *counts)


def assign(
    asked: Mapping[str, str], rows: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, Any]]
) -> list[Record]:
    """One record for each attempt that the results of one candidate and schedule, and the listed attempts, tell of."""
    try:
        handed_in = _handed_in(listed)
    except Unreadable as error:
        return [unassigned(asked, f"attempt-info: {error}", rows, listed)]
    total = max(submitted(rows), len(handed_in))
    if not rows and handed_in and handed_in[0][0]["number"] > 1:
        # How an attempt before this one is counted shows with the result; until then its id is not sure.
        return []
    # Attempts that are voided or were never handed in are not listed, but may be counted.
    numbers = [
        loaded["number"] if place > 1 else None
        for place, (loaded, _) in enumerate(handed_in, start=1 + total - len(handed_in))
    ]
    if total == 1 and not handed_in:
        return [found(asked, row=row) for row in rows]
    if total == 1:
        return [found(asked, row=rows[0] if rows else None, attempt=handed_in[0][1])]
    owners = [_owner(handed_in, row) for row in rows]
    if None in owners or len(set(owners)) < len(owners):
        problem = f"{total} attempts were handed in under one schedule, and which one a result belongs to is not clear"
        return [unassigned(asked, f"{problem}; let a schedule allow one attempt", rows, listed)]
    results = dict(zip(owners, rows, strict=True))
    newest = max((place for place in owners if place is not None), default=-1)
    return [
        found(asked, row=results.get(place), attempt=raw, number=numbers[place], several=True)
        for place, (_, raw) in enumerate(handed_in)
        if place in results or place > newest
    ]


def _handed_in(listed: Sequence[Mapping[str, Any]]) -> list[_Attempt]:
    """Read and raw form of each attempt that was handed in, by number."""
    every = [(load_attempt(raw), raw) for raw in listed]
    only = [one for one in every if letters(one[0]["status"]) in (None, "handedin")]
    return sorted(only, key=lambda one: one[0]["number"])


def _owner(handed_in: Sequence[_Attempt], row: Mapping[str, Any]) -> int | None:
    """The newest attempt that was handed in before the result was published."""
    published = _published(row)
    places = [
        place
        for place, (loaded, _) in enumerate(handed_in)
        if published is None or loaded["finished"] is None or loaded["finished"] <= published
    ]
    return places[-1] if places else None


def _published(row: Mapping[str, Any]) -> datetime | None:
    try:
        return IsoTime.convert(row.get("Published") or "")
    except ValueError:
        return None  # the adapter reports it


def unassigned(
    asked: Mapping[str, str], problem: str, rows: Sequence[Mapping[str, Any]], listed: Sequence[Mapping[str, Any]]
) -> Record:
    """A record that is never readable, so that it ends where somebody sees it."""
    return Record(UNASSIGNED, {"problem": problem, "asked": dict(asked), "rows": list(rows), "attempts": list(listed)})
