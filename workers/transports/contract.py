"""The interface of a transport. Data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

from bridge.errors import DeliveryFailed
from schemas.envelope import format_time

__all__ = [
    "ANSWER_KEPT_BYTES",
    "REPLAY_HEADER",
    "TRACE_HEADER",
    "Outcome",
    "Outgoing",
    "ShownRequest",
    "ShowsRequest",
    "Transport",
    "Try",
    "WindowTransport",
    "sending_time",
    "tries_of",
]

#: At most this much of an answer is kept with a try.
ANSWER_KEPT_BYTES = 1024
#: Header of a request or message that a replay job sends again; its value is the id of the job.
REPLAY_HEADER = "bridge-replay"
#: Header of a request or message whose try is traced (https://www.w3.org/TR/trace-context).
TRACE_HEADER = "traceparent"

#: Result of one try: None for success (http: accepted), else the failure.
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
    #: Its JSON in the projection of the subscription, as `Format.converted` gives it.
    body: bytes
    #: Id of the replay job that sends it again; empty: none. Sent in a header, never in the body.
    replay: str = ""
    #: W3C trace context of the try, for a header; before the try, that of what published it. Empty: not traced.
    traceparent: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers that every transport sends with the event, besides its own."""
        replayed = {REPLAY_HEADER: self.replay} if self.replay else {}
        return {**replayed, TRACE_HEADER: self.traceparent} if self.traceparent else replayed


@dataclass(frozen=True, slots=True)
class Try:
    """One event handed to one receiver once."""

    #: None for success (http: accepted), else what failed.
    failure: DeliveryFailed | None
    #: UNIX seconds when it began, by the clock of the `now` given to `send`.
    at: float
    #: How long it took, in seconds; for a batch in one round trip that of the batch.
    seconds: float
    #: HTTP status of the answer; None for brokers, and if no answer came.
    status: int | None = None
    #: The first bytes of the answer's body, at most `ANSWER_KEPT_BYTES`. May hold personal data.
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class ShownRequest:
    """What is sent for one event, for people: without passwords and tokens."""

    #: Where to, in one line.
    to: str
    #: Headers of the request or message; `****` in place of what may be a secret.
    headers: Mapping[str, str]
    #: The exact body that is sent.
    body: bytes


def sending_time(now: float) -> str:
    """UNIX seconds as RFC 3339, for formats that include the sending time."""
    return format_time(datetime.fromtimestamp(now, UTC))


def tries_of(outcomes: Sequence[Outcome], *, at: float, seconds: float) -> list[Try]:
    """The tries of events that were handed over together and have no separate answers."""
    return [Try(outcome, at, seconds) for outcome in outcomes]


class Transport(Protocol):
    """Sends events to one subscription."""

    @property
    def batch(self) -> int:
        """Maximum number of events per `send`."""
        ...

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        """One try per event, in order. Does not raise if the receiver or the connection fails."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class ShowsRequest(Transport, Protocol):
    """A transport that can show what it sends."""

    def shown(self, event: Outgoing, *, now: float) -> ShownRequest:
        """What a try that begins at `now` (`Try.at`) sends."""
        ...


@runtime_checkable
class WindowTransport(Transport, Protocol):
    """A transport that sends many events at once, each with its own answer."""

    @property
    def concurrency(self) -> int:
        """Most events under way; further ones wait their turn."""
        ...

    def start(self, events: Sequence[tuple[int, Outgoing]], *, now: float) -> None:
        """Begin to send events, each under a number of the caller's; returns at once."""
        ...

    def withdraw(self) -> list[int]:
        """The numbers of events that still wait their turn: they will not be sent."""
        ...

    def results(self, timeout: float = 0.0) -> list[tuple[int, Try]]:
        """(number, try) of events that have ended, in that order; waits up to `timeout` seconds for the first."""
        ...
