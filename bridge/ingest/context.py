"""What the pipeline works with, what it is given and what it returns. Data only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bridge.config.model import BridgeConfig, Source
from bridge.ingest.consent import Consents
from bridge.ingest.sittings import Sittings
from bridge.journal import PUBLISHED_OUTCOMES
from bridge.journal.publishing import Publisher
from bridge.polling.expectations import Expectations
from bridge.polling.watches import Watches
from bridge.sdk.vendor import NormalisedAttempt, Vendor

__all__ = ["IngestContext", "IngestReport", "Quarantine", "ReceiveResult", "WebhookRequest"]


class Quarantine(Protocol):
    """Stores unreadable requests and records (`bridge.journal.quarantine`)."""

    def add(
        self, *, source: str, origin: str, reason: str, body: bytes, now: float, request_id: str | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """One webhook as it was received."""

    #: The id under which the request is stored.
    id: str
    #: The bytes that the vendor signed.
    body: bytes
    #: All headers, with lower-case names.
    headers: Mapping[str, str]
    #: The headers that may be stored.
    kept_headers: Mapping[str, str]
    #: UNIX seconds.
    received_at: float
    #: Number of the secret, or of the token in the address, that it matched, from 1; None: there is none, or unknown.
    secret: int | None = None


@dataclass(frozen=True, slots=True)
class ReceiveResult:
    """The answer to a webhook."""

    #: What the vendor is answered, such as `published` or `watching` (docs/operations.md).
    outcome: str
    #: The id under which the request is stored.
    request_id: str


@dataclass(slots=True)
class IngestReport:
    """What became of records read from a vendor's API."""

    #: outcome -> number of records.
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Ids of all attempts that could be read, publishable or not.
    read_ids: list[str] = field(default_factory=list)
    #: Each publishable attempt with its outcome.
    publishable: list[tuple[NormalisedAttempt, str]] = field(default_factory=list)

    @property
    def published_ids(self) -> list[str]:
        """Ids of the attempts that were published or revised."""
        return [attempt.attempt_id for attempt, outcome in self.publishable if outcome in PUBLISHED_OUTCOMES]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestContext:
    """Everything that is the same for all records of one source."""

    #: The vendor's folder.
    vendor: Vendor
    #: The source as configured.
    source: Source
    #: The `bridge` section of bridge.yaml.
    bridge: BridgeConfig
    #: Makes events and requests durable.
    publisher: Publisher
    #: Open watches.
    watches: Watches
    #: Attempts that operators expect.
    expectations: Expectations
    #: Numbers of sittings that share an attempt id.
    sittings: Sittings
    #: Consent given and withdrawn.
    consents: Consents
    #: Where unreadable requests and records are stored.
    quarantine: Quarantine
    #: Whether a webhook announced what is read: a poll of it then counts as having found nothing.
    announced: bool = False
