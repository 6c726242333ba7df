"""What the pipeline works with: the way of one source, a request that comes in, and what becomes of either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bridge.config.model import BridgeConfig, Source
from bridge.ingest.consent import Consents
from bridge.ingest.sittings import Generations
from bridge.journal.publishing import Publisher
from bridge.polling.expectations import Expectations
from bridge.polling.watches import Watches
from bridge.sdk.vendor import NormalisedAttempt, Vendor

__all__ = ["NEW", "IngestReport", "Quarantine", "Receipt", "Request", "Way"]

#: Outcomes of news that nobody had before.
NEW = ("published", "revised")


class Quarantine(Protocol):
    """Where unreadable requests and records are kept (`bridge.journal.requests`)."""

    def add(
        self, *, source: str, origin: str, reason: str, body: bytes, now: float, request_id: str | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One webhook as it came in. `headers` have lower-case names; `kept_headers` are those that may be stored."""

    id: str
    body: bytes
    headers: Mapping[str, str]
    kept_headers: Mapping[str, str]
    received_at: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the vendor is told: `outcome` of design 6.2 and the id under which the request is kept."""

    outcome: str
    request_id: str


@dataclass(slots=True)
class IngestReport:
    """What became of polled records. `found`: those that are news in kind, each with its outcome; `seen`: the ids of
    all that could be read, news or not; `attempts`: the ids of those that were published or revised."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seen: list[str] = field(default_factory=list)
    found: list[tuple[NormalisedAttempt, str]] = field(default_factory=list)

    @property
    def attempts(self) -> list[str]:
        return [news.attempt_id for news, outcome in self.found if outcome in NEW]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Everything that is the same for all records of one source: who publishes, and under which names."""

    vendor: Vendor
    source: Source
    bridge: BridgeConfig
    publisher: Publisher
    watches: Watches
    expectations: Expectations
    generations: Generations
    consents: Consents
    quarantine: Quarantine
