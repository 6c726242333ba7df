"""Connects to a message broker with timeouts and publishes in batches. The transports build the messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from amqp.exceptions import ChannelError
from kombu import Connection, Producer
from kombu.exceptions import KombuError

from bridge import clock
from bridge.config.templates import KEY_BYTES
from bridge.errors import DeliveryFailed, clip
from bridge.net.broker_address import broker_address
from bridge.net.broker_problems import broker_problem
from workers.transports.amqp_link import CONNECT_SECONDS, NACKED, RETURNED, SOCKET_SECONDS, AmqpLink, Packet, refusal
from workers.transports.contract import Outcome, Outgoing, Try, tries_of
from workers.transports.faults import unexpected_failure

__all__ = ["Broker", "Message"]

_log = structlog.get_logger(__name__)

#: Without a socket timeout a broker behind a bad middlebox blocks a publisher indefinitely; kombu sets none.
_REDIS_OPTIONS = {
    "socket_timeout": SOCKET_SECONDS,
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_keepalive": True,
    "max_connections": 2,
    "client_name": "attempt-bridge",
}


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
    #: More properties of AMQP, such as `message_id`.
    properties: Mapping[str, Any] = field(default_factory=dict)


#: Most events that are remembered because they end a channel.
_MOST_ALONE = 1000
#: The properties under which a message is published.
_Complete = Callable[[Message], dict[str, Any]]


class Broker:
    """Publishes to one broker; connects on first use and after every failure. Not thread-safe."""

    def __init__(self, url: str) -> None:
        self._address = broker_address(url)
        probe = Connection(self._address.url, ssl=self._address.ssl)
        #: Redis takes a batch in one round trip; AMQP confirms each message, and many may be under way.
        self.is_redis: bool = probe.transport.driver_type == "redis"
        self._errors: tuple[type[BaseException], ...] = (
            *probe.connection_errors,
            *probe.channel_errors,
            KombuError,
            OSError,
        )
        self._link = AmqpLink(self._address)
        #: Events that have ended a channel, the oldest first.
        self._alone: dict[str, None] = {}
        #: Whether the last connection broke, perhaps because of one event: the next batch is then sent one by one.
        self._careful = False
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def publish(
        self,
        events: Sequence[Outgoing],
        message_of: Callable[[Outgoing], Message],
        *,
        now: float,
        content_type: str,
        exchange: str | None = None,
        **properties: Any,
    ) -> list[Try]:
        """Publish persistently to `exchange`, or (None) through the default exchange to the queue `routing_key`.

        If the broker does not answer, unconfirmed events fail uncharged: over Redis that is the whole batch, although
        the broker may have taken some of it. An event that an AMQP broker refuses or cannot route, or that cannot be
        written as a message, fails on its own and is charged; unconfirmed ones from the same batch are sent again.
        """

        def complete(message: Message) -> dict[str, Any]:
            return {
                "routing_key": message.routing_key,
                "exchange": exchange or "",
                "content_type": content_type,
                "content_encoding": "utf-8",
                "delivery_mode": "persistent",
                "mandatory": True,
                "headers": dict(message.headers),
                "correlation_id": message.correlation_id,
                "retry": False,
                **message.properties,
                **properties,
            }

        if self.is_redis:
            started = clock.monotonic()
            outcomes = self._publish_batch(events, message_of, complete)
            return tries_of(outcomes, at=now, seconds=clock.monotonic() - started)
        return self._publish_amqp(events, message_of, complete, exchange, now)

    def _publish_batch(
        self, events: Sequence[Outgoing], message_of: Callable[[Outgoing], Message], complete: _Complete
    ) -> list[Outcome]:
        try:
            producer = self._open()
            with producer.batch(max_size=len(events) or 1):
                for event in events:
                    message = message_of(event)
                    producer.publish(message.body, **complete(message))
        except self._errors as error:
            return [self._unavailable(error)] * len(events)
        except Exception as error:  # noqa: BLE001 - any error here concerns one event
            self.close()
            if len(events) == 1:
                return [
                    error if isinstance(error, DeliveryFailed) else unexpected_failure(error, event_id=events[0].id)
                ]
            # An error before the end discards the batch unsent, so nothing is sent twice.
            return [outcome for event in events for outcome in self._publish_batch([event], message_of, complete)]
        return [None] * len(events)

    def _publish_amqp(
        self,
        events: Sequence[Outgoing],
        message_of: Callable[[Outgoing], Message],
        complete: _Complete,
        exchange: str | None,
        now: float,
    ) -> list[Try]:
        began = clock.monotonic()
        outcomes: dict[int, Outcome] = {}
        packets = self._packets(events, message_of, complete, outcomes)
        together = [number for number in packets if events[number].id not in self._alone and not self._careful]
        stopped = self._send_together(packets, together, exchange, outcomes) if len(together) > 1 else None
        tries = dict.fromkeys(outcomes, (now, clock.monotonic() - began))
        for number in (number for number in packets if number not in outcomes):
            started = clock.monotonic()
            outcome = stopped or self._send_one(packets[number], exchange)
            outcomes[number], tries[number] = outcome, (now + started - began, clock.monotonic() - started)
            if outcome is not None and not outcome.charged:
                stopped = outcome
        # After one batch without a broken connection, messages are sent together again.
        self._careful = stopped is not None and stopped.reason == "broker_unavailable"
        return [Try(outcomes[number], *tries[number]) for number in range(len(events))]

    def _packets(
        self,
        events: Sequence[Outgoing],
        message_of: Callable[[Outgoing], Message],
        complete: _Complete,
        outcomes: dict[int, Outcome],
    ) -> dict[int, Packet]:
        """The messages by the number of their event; `outcomes` gets the failure of those that cannot be made."""
        packets = {}
        for number, event in enumerate(events):
            try:
                message = message_of(event)
                _check_key(message.routing_key)
                packets[number] = Packet(message.correlation_id, message.body, complete(message))
            except DeliveryFailed as failure:
                outcomes[number] = failure
            except Exception as error:  # noqa: BLE001 - any error here concerns one event
                outcomes[number] = unexpected_failure(error, event_id=event.id)
        return packets

    def _send_together(
        self,
        packets: Mapping[int, Packet],
        numbers: Sequence[int],
        exchange: str | None,
        outcomes: dict[int, Outcome],
    ) -> DeliveryFailed | None:
        """Publish messages without waiting for one another; returns the failure that concerns all, or None.

        Those without an outcome afterwards must be sent one by one: the broker has ended the channel because of one
        of them, and it is unknown which.
        """
        confirmed: dict[str, str] = {}
        stopped: DeliveryFailed | None = None
        try:
            self._link.ready(exchange)
        except Exception as error:  # noqa: BLE001 - libraries raise anything here; it concerns no event
            return error if isinstance(error, DeliveryFailed) else self._unavailable(error)
        try:
            self._link.publish([packets[number] for number in numbers], confirmed)
        except DeliveryFailed as failure:
            stopped = failure
        except ChannelError:
            self._link.close()
        except self._errors as error:
            stopped = self._unavailable(error)
        except Exception:  # noqa: BLE001 - the event that it concerns gets it when it is sent on its own
            self._link.close()
        for number in numbers:
            if packets[number].event_id in confirmed:
                outcomes[number] = _confirmed_outcome(packets[number], confirmed)
        return stopped

    def _send_one(self, packet: Packet, exchange: str | None) -> Outcome:
        try:
            self._link.ready(exchange)
        except Exception as error:  # noqa: BLE001 - libraries raise anything here; it concerns no event
            return error if isinstance(error, DeliveryFailed) else self._unavailable(error)
        confirmed: dict[str, str] = {}
        try:
            self._link.publish([packet], confirmed)
        except DeliveryFailed as failure:
            return failure
        except ChannelError as error:
            self._link.close()
            return self._isolated(packet, refusal(error, exchange))
        except self._errors as error:
            unavailable = self._unavailable(error)
            if not self._link.broke_on(packet.event_id):
                return unavailable
            text = "broker: it ends the connection whenever this event is sent. See its log"
            return self._isolated(packet, DeliveryFailed(text, reason="connection_lost", about_event=True))
        except Exception as error:  # noqa: BLE001 - any error here concerns one event
            self._link.close()
            return self._isolated(packet, unexpected_failure(error, event_id=packet.event_id))
        return _confirmed_outcome(packet, confirmed)

    def _isolated(self, packet: Packet, failure: DeliveryFailed) -> DeliveryFailed:
        """Remember an event that ends channels: sent with others, it would cause those to be sent twice."""
        if failure.about_event:
            self._alone[packet.event_id] = None
            while len(self._alone) > _MOST_ALONE:
                del self._alone[next(iter(self._alone))]
        return failure

    def _unavailable(self, error: BaseException) -> DeliveryFailed:
        self.close()
        fact, remedy = broker_problem(error)
        return DeliveryFailed(
            f"broker: {fact}. Remedy: {remedy}",
            reason="broker_unavailable",
            charged=False,
        )

    def close(self) -> None:
        """Close the connection; the next send opens a new one."""
        self._link.close()
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except Exception as error:  # noqa: BLE001 - it is dropped either way; the next send opens a new one
                _log.info("broker_connection_not_closed", error=type(error).__name__)

    def _open(self) -> Producer:
        """The producer of a Redis broker."""
        if self._producer is None:
            self._connection = Connection(
                self._address.url,
                ssl=self._address.ssl,
                connect_timeout=CONNECT_SECONDS,
                transport_options={**_REDIS_OPTIONS, **self._address.options},
            )
            self._producer = Producer(self._connection, auto_declare=False)
        return self._producer


def _check_key(routing_key: str) -> None:
    size = len(routing_key.encode())
    if size > KEY_BYTES:
        raise DeliveryFailed(
            f"routing key: {size} bytes, AMQP allows {KEY_BYTES}. Shorten it in bridge.yaml",
            reason="bad_routing_key",
            about_event=True,
        )


def _confirmed_outcome(packet: Packet, confirmed: Mapping[str, str]) -> Outcome:
    what = confirmed[packet.event_id]
    if what == NACKED:
        text = "broker: message refused. Check whether its queue is full"
        return DeliveryFailed(text, reason="nacked", about_event=True)
    if what == RETURNED:
        key = clip(packet.properties["routing_key"])
        text = f'broker: no queue for "{key}". Start the receiver, which declares its queue'
        return DeliveryFailed(text, reason="unroutable", about_event=True)
    return None
