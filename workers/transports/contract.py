"""The interface of a transport. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.errors import DeliveryFailed

__all__ = ["Outcome", "Outgoing", "Transport"]

#: Result of one event: None for success (http: accepted), else the failure.
Outcome = DeliveryFailed | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event as it is sent."""

    #: Event id.
    id: str
    #: Type of the event.
    type: str
    #: Name of its source.
    source: str
    #: Id of its attempt.
    attempt: str
    #: Its JSON in the projection of the subscription.
    body: bytes


class Transport(Protocol):
    """Sends events to one subscription."""

    #: Maximum number of events per `send`.
    batch: int

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Outcome]:
        """One outcome per event, in order. Does not raise if the receiver or the connection fails."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
