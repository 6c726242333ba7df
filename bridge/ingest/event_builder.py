"""Builds the event of one revision of one attempt. Pure."""

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
#: The flag of an attempt that is voided because a consent was withdrawn.
WITHDRAWN = "consent_withdrawn"


def event_type(status: str, revision: int) -> str:
    """`attempt.completed` or `attempt.voided` for revision 1, `attempt.revised` for every later one."""
    if revision > 1:
        return REVISED
    return VOIDED if status == "voided" else COMPLETED


def build_event(
    bridge: BridgeConfig,
    source: str,
    vendor: str,
    attempt: NormalisedAttempt,
    revision: int,
    previous: Mapping[str, Any] | None,
    *,
    origin: str,
    recorded: datetime,
    label: str | None = None,
    test: bool = False,
    traceparent: str = "",
) -> Event:
    """The event. Its `time` is the vendor's completion time, or `recorded` if the vendor gives none.

    `previous`: `data` of the event that this revision replaces, None if that has left the journal. `label`: that of
    the expectation which the attempt meets. `test`: the attempt is invented. `traceparent`: of the publishing span.
    """
    attempt = _with_carried_over(attempt, previous, label)
    path = source_path(bridge.name, source)
    kind = event_type(attempt.status, revision)
    # After a withdrawn consent the old result must not be published again.
    replaced = None
    if previous is not None and WITHDRAWN not in attempt.flags:
        replaced = {name: value for name, value in previous["result"].items() if name != "previous"}
    return Event(
        id=event_id(path, attempt.attempt_id, kind, revision),
        source=path,
        type=kind,
        subject=attempt.attempt_id,
        time=attempt.completed_at or recorded,
        dataschema=f"{bridge.public_url}/schemas/attempt/{SCHEMA_VERSION}.json",
        recordedtime=recorded,
        partitionkey=f"{source}/{attempt.attempt_id}",
        bridgevendor=vendor,
        bridgeorigin=origin,
        bridgetest=test,
        traceparent=traceparent,
        data=Data(
            attempt=Attempt(
                id=attempt.attempt_id,
                revision=revision,
                status=attempt.status,
                started_at=attempt.started_at,
                completed_at=attempt.completed_at,
                duration_seconds=attempt.duration_seconds,
            ),
            candidate=attempt.candidate,
            assessment=attempt.assessment,
            result=attempt.result if replaced is None else replace(attempt.result, previous=replaced),
            sections=attempt.sections,
            flags=attempt.flags,
            vendor=VendorFacts(name=vendor, source=source, status=attempt.vendor_status, ids=attempt.vendor_ids),
            links=Links(report=attempt.report, certificate=attempt.certificate),
            extensions=attempt.extensions,
        ),
    )


def _with_carried_over(
    attempt: NormalisedAttempt, previous: Mapping[str, Any] | None, label: str | None
) -> NormalisedAttempt:
    """The attempt with what the previous event keeps: the label, and the first completion time if it is observed."""
    if previous is not None:
        label = label or previous["extensions"].get(EXPECTATION)
        first = previous["attempt"]["completed_at"]
        if attempt.completed_at_is_observed and first is not None:
            attempt = replace(attempt, completed_at=datetime.fromisoformat(first))
    return attempt if label is None else replace(attempt, extensions={**attempt.extensions, EXPECTATION: label})
