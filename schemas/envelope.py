"""The CloudEvents 1.0 envelope that all events share: its attributes, its bytes, its id.

Source: CloudEvents 1.0.2 `spec.md` and `formats/json-format.md` (attributes, structured mode).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["MEDIA_TYPE", "SCHEMA_VERSION", "Envelope", "event_id", "format_time", "source_path"]

#: Media type of the structured mode (CloudEvents JSON format, section 3).
MEDIA_TYPE = "application/cloudevents+json"
#: Changes with every change of a schema of `data`; the event type changes only with an incompatible one.
SCHEMA_VERSION = "1.0"
_NAMESPACE = uuid.NAMESPACE_URL.bytes
#: `json.dumps` with arguments would build an encoder for each event.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The attributes of an event, without personal data: any system that passes it on may log them."""

    #: See `event_id`.
    id: str
    #: See `source_path`.
    source: str
    #: Event type.
    type: str
    #: What it concerns: an attempt, a watch, a consent, a source.
    subject: str
    #: When it happened.
    time: datetime
    #: Address of the schema of `data`.
    dataschema: str
    #: When the bridge built the event.
    recordedtime: datetime
    #: Events with the same key stay in order.
    partitionkey: str
    #: Name of the vendor.
    bridgevendor: str
    #: `webhook`, `poll`, `backfill` or `bridge`.
    bridgeorigin: str
    #: Version of CloudEvents.
    specversion: str = "1.0"
    #: Media type of `data`.
    datacontenttype: str = "application/json"
    #: The event is about an invented attempt; only then does it have the attribute.
    bridgetest: bool = False
    #: W3C trace context of what published it (CloudEvents extension "distributed tracing"); empty: not traced, and the
    #: event does not have the attribute.
    traceparent: str = ""

    def encode(self, data: Mapping[str, Any]) -> bytes:
        """The event as it is stored and sent: compact UTF-8 JSON, members in the order of the contract."""
        document: dict[str, Any] = {
            "specversion": self.specversion,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": format_time(self.time),
            "datacontenttype": self.datacontenttype,
            "dataschema": self.dataschema,
            "recordedtime": format_time(self.recordedtime),
            "partitionkey": self.partitionkey,
            "bridgevendor": self.bridgevendor,
            "bridgeorigin": self.bridgeorigin,
        }
        if self.bridgetest:
            document["bridgetest"] = True
        if self.traceparent:
            # The last attribute before `data`: `bridge/telemetry/tracing.py` finds it there without parsing the JSON.
            document["traceparent"] = self.traceparent
        document["data"] = data
        return _ENCODER.encode(document).encode()


def source_path(bridge_name: str, source: str) -> str:
    """The CloudEvents `source` of a configured source: `/acme/sources/eu-classmarker`."""
    return f"/{bridge_name}/sources/{source}"


def subscription_path(bridge_name: str, subscription: str) -> str:
    """The CloudEvents `source` of what the bridge says about a subscription: `/acme/subscriptions/gradebook`."""
    return f"/{bridge_name}/subscriptions/{subscription}"


def event_id(source: str, attempt_id: str, event_type: str, revision: int) -> str:
    """UUIDv5 of what makes the event unique, so that the same event has the same id even after all state is lost.

    `source` is the CloudEvents attribute (`source_path`). The namespace never changes: receivers remember ids.
    """
    name = f"{source}#{attempt_id}#{event_type}#{revision}"
    # The same as str(uuid.uuid5(...)) at an eighth of its cost: RFC 9562, section 5.5.
    digits = hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`: `2026-11-20T14:52:41.000Z`. `moment` must be aware."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"
