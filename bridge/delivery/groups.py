"""Failure groups: the failing deliveries and dead letters of a subscription by what went wrong. Pure.

outcomes.lua keeps the groups as deliveries change. A group is `open`; an operator may have `acknowledged` it, which
mutes it until it has twice as many deliveries (and at least ten more); with no delivery left in it, it is `fixed`, and
the next failure opens it again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

__all__ = ["ACKNOWLEDGED", "FIXED", "OPEN", "OTHER", "FailureGroup", "about", "fingerprint", "merged", "normalised"]

OPEN, ACKNOWLEDGED, FIXED = "open", "acknowledged", "fixed"
#: The group of any other failure once a subscription has as many groups as are kept.
OTHER = "000000000000"
_FINGERPRINT = 12
_MESSAGE = 200

#: What differs from one failure to the next, in the order of replacing, and what is written instead.
_VARIABLE = (
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`"), "<text>"),
    (re.compile(r"\b(?=[0-9a-z_-]*\d)[0-9a-z_-]{12,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """The failures of one subscription with one fingerprint. Times are UNIX seconds."""

    fingerprint: str
    #: Why the tries failed, a fixed word.
    reason: str
    #: Status of the answers; None if there was none.
    status: int | None
    #: The error of the first failure.
    message: str
    #: `open`, `acknowledged` or `fixed`.
    state: str
    #: When it got this state.
    since: float
    #: Deliveries that failed like this and wait for their next try.
    failing: int
    #: Dead letters that failed like this.
    dead: int
    #: Tries that ever failed like this, and deliveries given up without a try.
    failures: int
    #: First failure.
    first: float
    #: Last failure.
    last: float
    #: Event id of the last failure.
    example: str
    #: Deliveries in the group when it was acknowledged.
    acknowledged: int
    #: How often it opened again after it was fixed or acknowledged.
    reopened: int

    @property
    def count(self) -> int:
        """Deliveries in the group now."""
        return self.failing + self.dead


def normalised(message: str) -> str:
    """A message without what differs from one failure of a kind to the next: ids, quoted texts, numbers."""
    for pattern, instead in _VARIABLE:
        message = pattern.sub(instead, message)
    return " ".join(message.split())[:_MESSAGE]


def fingerprint(reason: str, status: int | None, message: str) -> str:
    """Twelve hexadecimal digits: the same for failures of one kind, in every subscription."""
    kind = json.dumps([reason, status, normalised(message)], ensure_ascii=True)
    return hashlib.sha256(kind.encode()).hexdigest()[:_FINGERPRINT]


def about(reason: str, status: int | None, message: str) -> str:
    """What a new group records about its failures, as outcomes.lua takes it."""
    return json.dumps({"reason": reason, "status": status, "message": message[:_MESSAGE]}, ensure_ascii=True)


def merged(parts: Iterable[FailureGroup]) -> FailureGroup:
    """The group of one fingerprint over all partitions. `parts`: at least one.

    It is open if any part is, else acknowledged if any part is.
    """
    every = list(parts)
    if len(every) == 1:
        return every[0]
    state = next(word for word in (OPEN, ACKNOWLEDGED, FIXED) if any(part.state == word for part in every))
    oldest, newest = min(every, key=lambda part: part.first), max(every, key=lambda part: part.last)
    sums = {name: sum(getattr(part, name) for part in every) for name in ("failing", "dead", "failures")}
    return FailureGroup(
        **{
            **asdict(oldest),
            **sums,
            "state": state,
            "since": max(part.since for part in every if part.state == state),
            "last": newest.last,
            "example": newest.example,
            "acknowledged": sum(part.acknowledged for part in every),
            "reopened": max(part.reopened for part in every),
        }
    )
