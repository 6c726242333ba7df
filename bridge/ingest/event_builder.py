"""The event of one revision of one attempt. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from bridge.config.model import BridgeConfig
from bridge.sdk.records import NormalisedAttempt
from schemas.event import (
    COMPLETED,
    REVISED,
    SCHEMA_VERSION,
    VOIDED,
    Attempt,
    Data,
    Event,
    Links,
    VendorFacts,
    event_id,
    source_path,
)

__all__ = ["EXPECTATION", "WITHDRAWN", "build_event", "event_type"]

#: The member of `data.extensions` that holds an operator's label.
EXPECTATION = "expectation"
#: The flag of an attempt that is void because a consent was withdrawn.
WITHDRAWN = "consent_withdrawn"


def event_type(status: str, revision: int) -> str:
    """`attempt.completed` or `attempt.voided` for the first news, `attempt.revised` for every later one."""
    if revision > 1:
        return REVISED
    return VOIDED if status == "voided" else COMPLETED


def build_event(
    bridge: BridgeConfig,
    source: str,
    vendor: str,
    news: NormalisedAttempt,
    revision: int,
    previous: Mapping[str, Any] | None,
    *,
    origin: str,
    recorded: datetime,
    request_id: str | None,
    label: str | None = None,
) -> Event:
    """`previous`: `data` of the event that revision replaces, where it still stands in the journal. `label`: of the
    expectation that this attempt meets. `time` is the vendor's finish, or the moment of receipt where it gives none."""
    news = _after(news, previous, label)
    path = source_path(bridge.name, source)
    kind = event_type(news.status, revision)
    # Whose consent is gone is not told once more.
    told = previous is not None and WITHDRAWN not in news.flags
    replaced = {k: v for k, v in previous["result"].items() if k != "previous"} if previous and told else None
    return Event(
        id=event_id(path, news.attempt_id, kind, revision),
        source=path,
        type=kind,
        subject=news.attempt_id,
        time=news.completed_at or recorded,
        dataschema=f"{bridge.public_url}/schemas/attempt/{SCHEMA_VERSION}.json",
        recordedtime=recorded,
        partitionkey=f"{source}/{news.attempt_id}",
        bridgevendor=vendor,
        bridgeorigin=origin,
        data=Data(
            attempt=Attempt(
                id=news.attempt_id,
                revision=revision,
                status=news.status,
                started_at=news.started_at,
                completed_at=news.completed_at,
                duration_seconds=news.duration_seconds,
            ),
            candidate=news.candidate,
            assessment=news.assessment,
            result=news.result if replaced is None else replace(news.result, previous=replaced),
            sections=news.sections,
            flags=news.flags,
            vendor=VendorFacts(name=vendor, source=source, status=news.vendor_status, ids=news.vendor_ids),
            links=Links(
                report=news.report,
                certificate=news.certificate,
                request=None if request_id is None else f"{bridge.public_url}/api/v1/requests/{request_id}",
            ),
            extensions=news.extensions,
        ),
    )


def _after(news: NormalisedAttempt, previous: Mapping[str, Any] | None, label: str | None) -> NormalisedAttempt:
    """The news with what stays from the event before: the label, and the first finish where it is only a reading."""
    if previous is not None:
        label = label or previous["extensions"].get(EXPECTATION)
        first = previous["attempt"]["completed_at"]
        if news.completed_at_is_observed and first is not None:
            news = replace(news, completed_at=datetime.fromisoformat(first))
    return news if label is None else replace(news, extensions={**news.extensions, EXPECTATION: label})
