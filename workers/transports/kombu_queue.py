"""Transport `kombu`: each event as a message, to a topic exchange (AMQP) or a queue (AMQP, Redis)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.config.addresses import without_password
from bridge.config.model import Subscription
from bridge.errors import ConfigError
from workers.transports.broker import Broker, Message
from workers.transports.contract import Outgoing, ShownRequest, Try, sending_time

__all__ = ["KombuQueue"]


class KombuQueue:
    """Publishes the event in the subscription's format, with its media type and the event id as message id."""

    batch = 200

    def __init__(self, subscription: Subscription, broker_url: str) -> None:
        self._broker = Broker(broker_url)
        self._address = without_password(broker_url)
        self._queue = subscription.queue
        self._routing_key = subscription.routing_key
        self._exchange = subscription.exchange
        self._format = subscription.output
        where = f"subscriptions.{subscription.name}"
        if subscription.queue is None and subscription.exchange is None:
            raise ConfigError(f"{where}: a kombu subscription needs `exchange` or `queue`")
        if subscription.exchange is not None and self._broker.is_redis:
            # kombu on Redis drops a message to an exchange without bindings and reports success.
            raise ConfigError(f"{where}.exchange: a Redis broker drops messages without a binding. Use `queue` instead")

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        """Push the messages in one round trip (Redis) or with a confirm for each (AMQP)."""
        return self._broker.publish(
            events,
            lambda event: self._message(event, now),
            now=now,
            content_type=self._format.media_type,
            exchange=self._exchange,
        )

    def shown(self, event: Outgoing, *, now: float) -> ShownRequest:
        """What is put into the queue or the exchange; properties are shown as headers."""
        message = self._message(event, now)
        place = f"exchange {self._exchange} with routing key" if self._exchange else "queue"
        properties = {"content_type": self._format.media_type, **message.properties}
        headers = {name: str(value) for name, value in {**properties, **message.headers}.items()}
        return ShownRequest(f"{place} {message.routing_key} of {self._address}", headers, message.body)

    def _message(self, event: Outgoing, now: float) -> Message:
        body = self._format.body([event.body], sending_time(now))
        return Message(body, self._key(event), event.id, event.headers, _properties(event, now))

    def _key(self, event: Outgoing) -> str:
        if self._exchange is None and self._queue is not None:
            return self._queue
        return self._routing_key.format(type=event.type, source=event.source)

    def close(self) -> None:
        self._broker.close()


def _properties(event: Outgoing, now: float) -> dict[str, Any]:
    """What AMQP consumers and management tools show of a message; `timestamp` is that of this sending."""
    return {"message_id": event.id, "type": event.type, "app_id": "attempt-bridge", "timestamp": int(now)}
