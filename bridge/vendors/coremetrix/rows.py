"""What the schemas in `schema.py` load, as types. A test compares the members."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TypedDict

__all__ = ["AttemptRow", "ConsentRow", "HookRow", "ScoreRow", "TimingsRow"]


class TimingsRow(TypedDict, total=False):
    loaded: datetime | None
    start: datetime | None
    finish: datetime | None
    complete: datetime | None


class ScoreRow(TypedDict):
    model: str | None
    value: Decimal | None


class AttemptRow(TypedDict):
    id: str
    quiz_id: str
    status: str
    custom_id: str | None
    name: str | None
    flags: tuple[str, ...]
    timings: TimingsRow | None
    scores: list[ScoreRow | None] | None


class HookRow(TypedDict):
    event: str
    puid: str | None
    quiz_id: str | None
    attempt_id: str | None
    id: str | None


class ConsentRow(TypedDict):
    puid: str
    quiz_id: str | None
    consent: bool | None
    consent_time: datetime | None
    withdrawal_time: datetime | None
    last_updated: datetime | None
