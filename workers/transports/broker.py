"""Connects to a message broker with time-outs and publishes in batches. What a message says is up to the transports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kombu import Connection, Exchange, Producer
from kombu.exceptions import KombuError

from bridge.errors import DeliveryFailed, clip
from workers.transports.contract import Outcome

__all__ = ["Broker", "Message"]

_CONNECT_SECONDS, _SOCKET_SECONDS, _CONFIRM_SECONDS = 5, 10, 10
#: Without a socket time-out a broker behind a bad middlebox stops a publisher for ever; kombu's default is none.
_REDIS_OPTIONS = {
    "socket_timeout": _SOCKET_SECONDS,
    "socket_connect_timeout": _CONNECT_SECONDS,
    "socket_keepalive": True,
    "max_connections": 2,
    "client_name": "attempt-bridge",
}
#: With confirms a message counts when the broker has it on disk.
_AMQP_OPTIONS = {"confirm_publish": True, "read_timeout": _SOCKET_SECONDS, "write_timeout": _SOCKET_SECONDS}


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `correlation_id` is the event id, by which a returned message is recognised."""

    body: bytes
    routing_key: str
    correlation_id: str
    headers: Mapping[str, Any]


class Broker:
    """Publishes to one broker; connects on first use and again after every failure. One thread at a time."""

    def __init__(self, url: str) -> None:
        probe = Connection(url)
        #: Redis takes a batch in one round trip; AMQP confirms each message.
        self.is_redis: bool = probe.transport.driver_type == "redis"
        self._url = url
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._returned: set[str] = set()

    def publish(
        self, messages: Iterable[Message], *, content_type: str, exchange: Exchange | None = None, **properties: Any
    ) -> list[Outcome]:
        """Persistently, to a topic exchange or (None) through the default exchange to the queue `routing_key`.

        A broker that does not answer fails all messages, uncharged; which of them it took nobody knows. A message
        that an AMQP broker could route nowhere is a charged failure.
        """
        messages = list(messages)
        self._returned.clear()
        try:
            producer = self._open()
            with producer.batch(max_size=len(messages) or 1):
                for message in messages:
                    producer.publish(
                        message.body,
                        routing_key=message.routing_key,
                        exchange=exchange or "",
                        declare=[exchange] if exchange else None,
                        content_type=content_type,
                        content_encoding="utf-8",
                        delivery_mode="persistent",
                        mandatory=True,
                        headers=dict(message.headers),
                        correlation_id=message.correlation_id,
                        confirm_timeout=_CONFIRM_SECONDS,
                        retry=False,
                        **properties,
                    )
        except self._errors() as error:
            self.close()
            # Only the kind of the cause: redis-py writes the failed command into its text, with the event in it.
            kind = type(error.__cause__ or error).__name__
            failure = DeliveryFailed(
                f"broker: {kind}: {clip(error)}; check that it is up, reachable and has memory left",
                reason="broker_unavailable",
                charged=False,
            )
            return [failure] * len(messages)
        return [self._outcome(message) for message in messages]

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.release()

    def _outcome(self, message: Message) -> Outcome:
        if message.correlation_id not in self._returned:
            return None
        return DeliveryFailed(
            f'the broker has no queue for "{clip(message.routing_key)}"; start the receiver, it declares its queue',
            reason="unroutable",
        )

    def _open(self) -> Producer:
        if self._producer is None:
            self._connection = Connection(
                self._url,
                connect_timeout=_CONNECT_SECONDS,
                transport_options=_REDIS_OPTIONS if self.is_redis else _AMQP_OPTIONS,
            )
            # kombu's Redis channel has no returns: every message there finds its list.
            on_return = None if self.is_redis else self._on_return
            self._producer = Producer(self._connection, auto_declare=False, on_return=on_return)
        return self._producer

    def _on_return(self, _error: Exception, _exchange: str, _routing_key: str, message: Any) -> None:
        self._returned.add(message.properties["correlation_id"])

    def _errors(self) -> tuple[type[BaseException], ...]:
        known = Connection(self._url) if self._connection is None else self._connection
        return (*known.connection_errors, *known.channel_errors, KombuError, OSError)
