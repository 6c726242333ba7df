"""Field types of the published event, and options that describe a member."""

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
    """Options of a field that every event has. `keywords` are copied into the JSON Schema."""
    return {"required": True, "metadata": {"description": description, **keywords}}


def nullable(description: str, **keywords: Any) -> dict[str, Any]:
    """Options of a field that every event has, null if the value is unknown."""
    return {**member(description, **keywords), "allow_none": True}


class UtcTime(fields.AwareDateTime):
    """A time as RFC 3339 in UTC with milliseconds and `Z`; marshmallow itself writes `+00:00`."""

    def __init__(self, **options: Any) -> None:
        options["metadata"] = {**options.get("metadata", {}), "pattern": TIME_PATTERN}
        super().__init__(**options)

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **options: Any) -> str | None:
        return None if value is None else format_time(value)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> datetime:
        moment: datetime = super()._deserialize(value, attr, data, **options)
        return moment.astimezone(UTC)


class Score(fields.Float):
    """A Decimal in Python, a number with at most 4 decimals in JSON, which has no Decimal."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **options: Any) -> float | None:
        return None if value is None else round(float(value), 4)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        return Decimal(str(super()._deserialize(value, attr, data, **options)))
