"""IRIs and other text that xAPI statements and Caliper events have in common. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

__all__ = ["Names", "derived_id", "duration"]

_NAMESPACE = uuid.NAMESPACE_URL
#: Besides unreserved characters, only those that every reader of IRIs leaves as they are in a path.
_SAFE = ":@!$'()*,;=+&"


@dataclass(frozen=True, slots=True)
class Names:
    """The IRIs of what one event is about. They begin with the bridge's address and the event's `source`."""

    source: str
    data: Mapping[str, Any]

    @property
    def attempt(self) -> str:
        """The attempt."""
        return self._below("attempts", self.data["attempt"]["id"])

    @property
    def assessment(self) -> str:
        """The test; derived from the attempt if the event lacks the test's id."""
        ident = (self.data.get("assessment") or {}).get("id")
        return f"{self.attempt}/assessment" if not ident else self._below("assessments", ident)

    @property
    def group(self) -> str | None:
        """Where the test was given."""
        group = (self.data.get("assessment") or {}).get("group") or {}
        return self._below("groups", group["id"]) if group.get("id") else None

    @property
    def person(self) -> str:
        """What identifies the person at the source: the vendor's id, or the organisation's, or else the attempt's.

        The latter two are marked: one text may be the vendor's id of one person and the organisation's of another.
        """
        candidate = self.data.get("candidate") or {}
        if candidate.get("id"):
            return str(candidate["id"])
        external = candidate.get("external_id")
        return f"external:{external}" if external else f"attempt:{self.data['attempt']['id']}"

    @property
    def candidate(self) -> str:
        """The person."""
        return self._below("candidates", self.person)

    @property
    def score(self) -> str:
        """The score of this revision."""
        return f"{self.attempt}/scores/{self.data['attempt']['revision']}"

    def _below(self, kind: str, ident: str) -> str:
        return f"{self.source}/{kind}/{quote(ident, safe=_SAFE)}"


def derived_id(*parts: str) -> str:
    """UUIDv5 of parts: the same for the same event, whenever and wherever it is made."""
    return str(uuid.uuid5(_NAMESPACE, "#".join(parts)))


def duration(seconds: int | None) -> str | None:
    """ISO 8601, with hours as the largest unit: `PT32M36S`."""
    if seconds is None or seconds < 0:
        return None
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "H"), (minutes, "M"), (rest, "S"))
    return "PT" + ("".join(f"{value}{unit}" for value, unit in parts if value) or "0S")
