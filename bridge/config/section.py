"""The base of the schemas of bridge.yaml: unknown keys are refused, empty ones count as absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, pre_load, validates_schema

from bridge.config.fields import kind_of
from bridge.text import did_you_mean

__all__ = ["SectionSchema"]


class SectionSchema(Schema):
    """Refuses unknown keys, with a suggestion; a key without a value counts as absent."""

    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _drop_empty(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, Mapping):
            raise ValidationError(f"must be a section of keys, not {kind_of(data)}")
        return {name: value for name, value in data.items() if value is not None}

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _refuse_unknown(self, _data: Any, original: Any, **_: Any) -> None:
        known = {field.data_key or name for name, field in self.fields.items()}
        unknown = [name for name in original if name not in known]
        if unknown:
            raise ValidationError({name: [f"unknown key. {did_you_mean(name, known)}"] for name in unknown})
