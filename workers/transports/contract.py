"""What a transport gets and gives. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.errors import DeliveryFailed

__all__ = ["Outcome", "Outgoing", "Transport"]

#: None: handed over (http: accepted).
Outcome = DeliveryFailed | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event as it is sent; `body` is its JSON, after the projection of the subscription."""

    id: str
    type: str
    source: str
    attempt: str
    body: bytes


class Transport(Protocol):
    """Hands events over. `batch`: how many it wants at a time."""

    batch: int

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Outcome]:
        """One outcome per event, in order. Never raises for a failure of the receiver or of the way to it."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...
