"""The days and ids of a reconciliation as they are drawn and listed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["BARS", "DIFFERENCES", "Day", "Ids", "Segment", "days_of", "ids_of"]


class Kind(NamedTuple):
    """A kind of attempts: its member in the API, its word, and what it means."""

    name: str
    word: str
    meaning: str


#: What a bar is made of, from left to right.
BARS = (
    Kind("both", "both", "seen by webhook and by poll or backfill"),
    Kind("webhook_only", "webhook only", "no poll has seen it"),
    Kind("poll_only", "rescued", "no webhook came: a poll has found it"),
    Kind("missing", "missing", "listed by the vendor, never published"),
)
#: Lists of ids, first those that need attention.
DIFFERENCES = (
    Kind("missing", "missing", "listed by the vendor, never published"),
    Kind("outdated", "outdated", "the vendor has a later result than was published"),
    Kind("expected", "expected", "an expectation past its due time, neither listed nor published"),
    Kind("poll_only", "rescued", "no webhook came: a poll has found it"),
    Kind("webhook_only", "webhook only", "no poll has seen it"),
    Kind("unlisted", "unlisted", "published, and not in the vendor's list"),
)
#: Days that are shown, the newest: more are in the JSON.
MAX_DAYS = 92
#: Width of the thinnest segment in percent, so that one of a million is visible.
_THINNEST = 1.0


class Segment(NamedTuple):
    """A part of a bar; `x` and `width` in percent."""

    name: str
    x: float
    width: float


class Day(NamedTuple):
    """One UTC day. `partly`: the period begins or ends within it."""

    day: str
    counts: Mapping[str, int]
    segments: Sequence[Segment]
    partly: str


class Ids(NamedTuple):
    """Ids of one kind. `first`: how many are before those shown."""

    kind: Kind
    shown: Sequence[str]
    first: int
    total: int


def days_of(row: Mapping[str, Any]) -> list[Day]:
    """The newest days of a reconciliation of the API, oldest first; the longest bar is that of the fullest day."""
    days: Mapping[str, Mapping[str, int]] = row.get("days") or {}
    names = sorted(days)[-MAX_DAYS:]
    largest = max((_total(days[name]) for name in names), default=0)
    return [Day(name, days[name], _segments(days[name], largest), _partly(name, row)) for name in names]


def ids_of(row: Mapping[str, Any], name: str | None, first: int, limit: int) -> list[Ids]:
    """The ids of each kind of difference that has any; if a kind is named, only its ids from the `first` on."""
    ids: Mapping[str, Sequence[str]] = row.get("ids") or {}
    kinds = (kind for kind in DIFFERENCES if ids.get(kind.name) and name in (None, kind.name))
    return [Ids(kind, ids[kind.name][first : first + limit], first, len(ids[kind.name])) for kind in kinds]


def _total(counts: Mapping[str, int]) -> int:
    return sum(counts.get(kind.name, 0) for kind in BARS)


def _segments(counts: Mapping[str, int], largest: int) -> list[Segment]:
    segments, x = [], 0.0
    for kind in BARS:
        if number := counts.get(kind.name, 0):
            width = _THINNEST + (100 - len(BARS) * _THINNEST) * number / largest
            segments.append(Segment(kind.name, round(x, 2), round(width, 2)))
            x += width
    return segments


def _partly(day: str, row: Mapping[str, Any]) -> str:
    """Why the numbers do not cover the whole day; empty: they do. Times of the API begin with their day."""
    if row["until"].startswith(day):
        return f"until {row['until'][11:16]} UTC"
    return f"from {row['since'][11:16]} UTC" if row["since"].startswith(day) and row["since"][11:16] != "00:00" else ""
