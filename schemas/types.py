"""The field types that the shapes of the published event share, and how a member is described. No shapes here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from marshmallow import fields

from schemas.event import format_time

__all__ = ["Score", "UtcTime", "member", "nullable"]

#: What `format_time` writes.
TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"


def member(description: str, **keywords: Any) -> dict[str, Any]:
    """Options of a field that every event has. `keywords` go into the JSON Schema as they are."""
    return {"required": True, "metadata": {"description": description, **keywords}}


def nullable(description: str, **keywords: Any) -> dict[str, Any]:
    """Options of a field that every event has, null where the fact is unknown."""
    return {**member(description, **keywords), "allow_none": True}


class UtcTime(fields.AwareDateTime):
    """A moment as RFC 3339 in UTC with milliseconds and `Z`; marshmallow alone would write `+00:00`."""

    def __init__(self, **options: Any) -> None:
        options["metadata"] = {**options.get("metadata", {}), "pattern": TIME_PATTERN}
        super().__init__(**options)

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **options: Any) -> str | None:
        return None if value is None else format_time(value)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> datetime:
        moment: datetime = super()._deserialize(value, attr, data, **options)
        return moment.astimezone(UTC)


class Score(fields.Float):
    """Decimal inside, a JSON number of at most 4 decimals outside: JSON has no Decimal, and text would be no number."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **options: Any) -> float | None:
        return None if value is None else round(float(value), 4)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        return Decimal(str(super()._deserialize(value, attr, data, **options)))
