"""A span for each try of each delivery, around any transport: its parent is the span that published the event, and the
receiver may continue it.

To lanes it is a transport like any other. While nothing is traced, it is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from bridge.config.model import Subscription
from bridge.telemetry import tracing
from bridge.telemetry.tracing import CLIENT, PRODUCER, Attributes, Span, failure_word
from workers.transports.contract import Outgoing, Transport, Try, WindowTransport

__all__ = ["traced"]

#: Transports over a broker, which `broker` or bridge.yaml names.
_OVER_BROKER = ("celery", "kombu")
#: Transports that call a server whose address must not be shown.
_CALLING = ("sql", "notify")
#: Scheme of a broker's address -> OpenTelemetry's name of the system.
_SYSTEMS = {"redis": "redis", "rediss": "redis", "unix": "redis", "amqp": "rabbitmq", "amqps": "rabbitmq"}


def traced(transport: Transport, subscription: Subscription, broker_url: str) -> Transport:
    """The transport with a span for each try; the transport itself while nothing is traced. `broker_url`: as in
    `transport_for`."""
    if not tracing.is_on():
        return transport
    spans = _Tries(subscription, subscription.broker or broker_url)
    if isinstance(transport, WindowTransport):
        return _TracedWindow(transport, spans)
    return _TracedTransport(transport, spans)


class _Tries:
    """Begins and ends the spans of one subscription."""

    def __init__(self, subscription: Subscription, broker_url: str) -> None:
        self._name = f"send {subscription.name}"
        self._kind, self._attributes = _described(subscription, broker_url)

    def begin(self, event: Outgoing) -> tuple[Span, Outgoing]:
        """The span of a try that begins, and the event as it is sent, with the span's context."""
        attributes = {
            **self._attributes,
            "messaging.message.id": event.id,
            "cloudevents.event_id": event.id,
            "cloudevents.event_type": event.type,
            "attempt_bridge.source": event.source,
        }
        if event.replay:
            attributes["attempt_bridge.replay"] = event.replay
        # Without a parent: the event was published by a process that does not trace.
        span = tracing.start(self._name, self._kind, attributes, parent=event.traceparent, root=not event.traceparent)
        return span, replace(event, traceparent=span.traceparent)

    def end(self, span: Span, tried: Try) -> None:
        """End the span of a try."""
        outcome = "delivered" if tried.failure is None else "failed"
        # A span that begins when the event is handed to the transport includes waiting for its turn.
        span.set({"attempt_bridge.outcome": outcome, "attempt_bridge.try_seconds": tried.seconds})
        if tried.status is not None:
            span.set({"http.response.status_code": tried.status})
        if tried.failure is not None:
            span.fail(tried.failure.reason)
        span.end()


class _TracedTransport:
    def __init__(self, transport: Transport, spans: _Tries) -> None:
        self._transport = transport
        self._spans = spans

    @property
    def batch(self) -> int:
        # It may change: the transport may not have been created yet.
        return self._transport.batch

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        begun = [self._spans.begin(event) for event in events]
        tries: list[Try] = []
        try:
            tries = self._transport.send([event for _, event in begun], now=now)
        except Exception as error:
            for span, _ in begun:
                span.fail(failure_word(error))
                span.end()
            raise
        for (span, _), tried in zip(begun, tries, strict=False):
            self._spans.end(span, tried)
        return tries

    def close(self) -> None:
        self._transport.close()


class _TracedWindow(_TracedTransport):
    def __init__(self, transport: WindowTransport, spans: _Tries) -> None:
        super().__init__(transport, spans)
        self._window = transport
        #: The spans of events under way, by the caller's numbers.
        self._begun: dict[int, Span] = {}

    @property
    def concurrency(self) -> int:
        return self._window.concurrency

    def start(self, events: Sequence[tuple[int, Outgoing]], *, now: float) -> None:
        sent = []
        for number, event in events:
            self._begun[number], with_context = self._spans.begin(event)
            sent.append((number, with_context))
        self._window.start(sent, now=now)

    def withdraw(self) -> list[int]:
        numbers = self._window.withdraw()
        for number in numbers:
            # Not sent, so there was no try.
            self._begun.pop(number, None)
        return numbers

    def results(self, timeout: float = 0.0) -> list[tuple[int, Try]]:
        results = self._window.results(timeout)
        for number, tried in results:
            span = self._begun.pop(number, None)
            if span is not None:
                self._spans.end(span, tried)
        return results


def _described(subscription: Subscription, broker_url: str) -> tuple[str, Attributes]:
    """Kind and attributes of each try: a server that answers is called, anything else takes messages."""
    transport, place = subscription.transport, urlsplit(subscription.url or "")
    common = {"attempt_bridge.subscription": subscription.name, "attempt_bridge.transport": transport}
    if place.scheme in ("http", "https"):
        # Without path and query, which may hold a token.
        return CLIENT, {**common, "http.request.method": "POST", "server.address": place.hostname or ""}
    if transport in _CALLING:
        return CLIENT, common
    scheme = broker_url.partition("://")[0].lower().partition("+")[0]
    system = _SYSTEMS.get(scheme, transport) if transport in _OVER_BROKER else transport
    sending = {"messaging.system": system, "messaging.operation.type": "send", "messaging.operation.name": "send"}
    destination = subscription.queue or subscription.exchange or subscription.topic
    named = {"messaging.destination.name": destination} if destination else {}
    return PRODUCER, {**common, **sending, **named}
