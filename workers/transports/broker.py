"""Connects to a message broker with timeouts and publishes in batches. The transports build the messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from amqp.exceptions import ChannelError, MessageNacked
from kombu import Connection, Exchange, Producer
from kombu.exceptions import KombuError

from bridge.config.templates import KEY_BYTES
from bridge.errors import DeliveryFailed, clip
from bridge.net.tls import broker_address, tls_problem
from workers.transports.contract import Outcome, Outgoing
from workers.transports.faults import unexpected_failure

__all__ = ["Broker", "Message"]

_log = structlog.get_logger(__name__)

_CONNECT_SECONDS, _SOCKET_SECONDS, _CONFIRM_SECONDS = 5, 10, 10
#: Without a socket timeout a broker behind a bad middlebox blocks a publisher indefinitely; kombu sets none.
_REDIS_OPTIONS = {
    "socket_timeout": _SOCKET_SECONDS,
    "socket_connect_timeout": _CONNECT_SECONDS,
    "socket_keepalive": True,
    "max_connections": 2,
    "client_name": "attempt-bridge",
}
#: With confirms a message counts once the broker has it on disk.
_AMQP_OPTIONS = {"confirm_publish": True, "read_timeout": _SOCKET_SECONDS, "write_timeout": _SOCKET_SECONDS}


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    #: Serialised body.
    body: bytes
    #: Routing key, or the queue with the default exchange.
    routing_key: str
    #: Event id; identifies a returned message.
    correlation_id: str
    #: Headers.
    headers: Mapping[str, Any]


#: Publishes one event and returns its message.
_Put = Callable[[Producer, Outgoing], Message]


class Broker:
    """Publishes to one broker; connects on first use and after every failure. Not thread-safe."""

    def __init__(self, url: str) -> None:
        self._address = broker_address(url)
        probe = Connection(self._address.url, ssl=self._address.ssl)
        #: Redis takes a batch in one round trip; AMQP confirms each message.
        self.is_redis: bool = probe.transport.driver_type == "redis"
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._returned: set[str] = set()

    def publish(
        self,
        events: Sequence[Outgoing],
        message_of: Callable[[Outgoing], Message],
        *,
        content_type: str,
        exchange: Exchange | None = None,
        **properties: Any,
    ) -> list[Outcome]:
        """Publish persistently to `exchange`, or (None) through the default exchange to the queue `routing_key`.

        If the broker does not answer, unconfirmed events fail uncharged: over Redis that is the whole batch, although
        the broker may have taken some of it. An event that an AMQP broker refuses or cannot route, or that cannot be
        written as a message, fails alone and is charged.
        """

        def put(producer: Producer, event: Outgoing) -> Message:
            message = message_of(event)
            size = len(message.routing_key.encode())
            if size > KEY_BYTES and not self.is_redis:
                raise DeliveryFailed(
                    f"routing key: {size} bytes, AMQP allows {KEY_BYTES}. Shorten it in bridge.yaml",
                    reason="bad_routing_key",
                )
            producer.publish(
                message.body,
                routing_key=message.routing_key,
                exchange=exchange or "",
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
            return message

        self._returned.clear()
        if self.is_redis:
            return self._publish_batch(events, put)
        return self._publish_each(events, put, exchange)

    def _publish_batch(self, events: Sequence[Outgoing], put: _Put) -> list[Outcome]:
        try:
            producer = self._open()
            with producer.batch(max_size=len(events) or 1):
                for event in events:
                    put(producer, event)
        except self._errors() as error:
            return [self._unavailable(error)] * len(events)
        except Exception as error:  # noqa: BLE001 - any error here concerns one event
            self.close()
            if len(events) == 1:
                return [
                    error if isinstance(error, DeliveryFailed) else unexpected_failure(error, event_id=events[0].id)
                ]
            # An error before the end discards the batch unsent, so nothing is sent twice.
            return [outcome for event in events for outcome in self._publish_batch([event], put)]
        return [None] * len(events)

    def _publish_each(self, events: Sequence[Outgoing], put: _Put, exchange: Exchange | None) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for event in events:
            try:
                producer = self._ready_producer(exchange)
            except Exception as error:  # noqa: BLE001 - libraries raise anything here; it concerns no event
                return outcomes + [self._unavailable(error)] * (len(events) - len(outcomes))
            try:
                outcomes.append(self._outcome(put(producer, event)))
            except DeliveryFailed as failure:
                outcomes.append(failure)
            except MessageNacked:
                outcomes.append(
                    DeliveryFailed("broker: message refused. Check whether its queue is full", reason="nacked")
                )
            except ChannelError as error:
                self.close()
                problem = f"broker: {type(error).__name__}: {clip(error)}. Check its size limit and permissions"
                outcomes.append(DeliveryFailed(problem, reason="broker_refused"))
            except self._errors() as error:
                return outcomes + [self._unavailable(error)] * (len(events) - len(outcomes))
            except Exception as error:  # noqa: BLE001 - any error here concerns one event
                self.close()
                outcomes.append(unexpected_failure(error, event_id=event.id))
        return outcomes

    def _ready_producer(self, exchange: Exchange | None) -> Producer:
        """A producer that is connected, with its exchange declared; a failure here concerns no event."""
        producer = self._open()
        _ = producer.channel  # connects
        if exchange is not None:
            producer.maybe_declare(exchange)
        return producer

    def _unavailable(self, error: BaseException) -> DeliveryFailed:
        self.close()
        # Only the type of the cause: redis-py writes the failed command, and so the event, into its text.
        cause = type(error.__cause__ or error).__name__
        text = f"{cause}: {clip(error)}. Check that it is up, reachable and has free memory"
        return DeliveryFailed(
            f"broker: {tls_problem(error) or text}",
            reason="broker_unavailable",
            charged=False,
        )

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except Exception as error:  # noqa: BLE001 - it is dropped either way; the next send opens a new one
                _log.info("broker_connection_not_closed", error=type(error).__name__)

    def _outcome(self, message: Message) -> Outcome:
        if message.correlation_id not in self._returned:
            return None
        return DeliveryFailed(
            f'broker: no queue for "{clip(message.routing_key)}". Start the receiver, which declares its queue',
            reason="unroutable",
        )

    def _open(self) -> Producer:
        if self._producer is None:
            self._connection = Connection(
                self._address.url,
                ssl=self._address.ssl,
                connect_timeout=_CONNECT_SECONDS,
                transport_options=_REDIS_OPTIONS if self.is_redis else _AMQP_OPTIONS,
            )
            # kombu's Redis channel returns nothing: every message there has a list.
            on_return = None if self.is_redis else self._on_return
            self._producer = Producer(self._connection, auto_declare=False, on_return=on_return)
        return self._producer

    def _on_return(self, _error: Exception, _exchange: str, _routing_key: str, message: Any) -> None:
        self._returned.add(message.properties["correlation_id"])

    def _errors(self) -> tuple[type[BaseException], ...]:
        connection = self._connection or Connection(self._address.url, ssl=self._address.ssl)
        return (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)
