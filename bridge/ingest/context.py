"""What the pipeline works with: the way of one source, a request that comes in, and what becomes of either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bridge.config.model import BridgeConfig, Source
from bridge.ingest.consent import Consents
from bridge.ingest.sittings import Sittings
from bridge.journal.publishing import Publisher
from bridge.polling.expectations import Expectations
from bridge.polling.watches import Watches
from bridge.sdk.vendor import NormalisedAttempt, Vendor

__all__ = ["NEW", "IngestContext", "IngestReport", "Quarantine", "ReceiveResult", "WebhookRequest"]

#: Outcomes of news that nobody had before.
NEW = ("published", "revised")


class Quarantine(Protocol):
    """Where unreadable requests and records are kept (`bridge.journal.requests`)."""

    def add(
        self, *, source: str, origin: str, reason: str, body: bytes, now: float, request_id: str | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """One webhook as it came in. `headers` have lower-case names; `kept_headers` are those that may be stored."""

    id: str
    body: bytes
    headers: Mapping[str, str]
    kept_headers: Mapping[str, str]
    received_at: float


@dataclass(frozen=True, slots=True)
class ReceiveResult:
    """The answer to the vendor: `outcome` (docs/operations.md lists them) and the id of the stored request."""

    outcome: str
    request_id: str


@dataclass(slots=True)
class IngestReport:
    """What became of records read from a vendor's API."""

    outcomes: Counter[str] = field(default_factory=Counter)
    read_ids: list[str] = field(default_factory=list)
    publishable: list[tuple[NormalisedAttempt, str]] = field(default_factory=list)

    @property
    def published_ids(self) -> list[str]:
        return [attempt.attempt_id for attempt, outcome in self.publishable if outcome in NEW]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestContext:
    """Everything that is the same for all records of one source: who publishes, and under which names."""

    vendor: Vendor
    source: Source
    bridge: BridgeConfig
    publisher: Publisher
    watches: Watches
    expectations: Expectations
    sittings: Sittings
    consents: Consents
    quarantine: Quarantine
