"""The connection to an AMQP broker: confirmed publishing, the exchange, and waiting while an alarm blocks publishers.

Messages are published without waiting for one another, and the broker confirms each. While RabbitMQ has an alarm
(memory, disk) it stops reading from publishers, and takes what they have sent when the alarm ends. A publisher that
reconnects and sends again leaves another connection and another copy there each time. So this one keeps its connection,
and waits for the confirms of the messages that are under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from amqp.exceptions import AccessRefused, ChannelError, NotFound, PreconditionFailed
from kombu import Connection, Producer

from bridge import clock
from bridge.errors import DeliveryFailed, clip
from bridge.net.broker_address import BrokerAddress

__all__ = ["CONNECT_SECONDS", "NACKED", "RETURNED", "ROUTED", "SOCKET_SECONDS", "AmqpLink", "Packet", "refusal"]

_log = structlog.get_logger(__name__)

CONNECT_SECONDS, SOCKET_SECONDS = 5, 10
_CONFIRM_SECONDS = 10
#: How long a broker with an alarm may take to confirm what it has read before.
_BLOCKED_SECONDS = 1.0
#: How long to look for the end of an alarm before each batch.
_DRAIN_SECONDS = 0.05
#: Most messages and bytes without a confirm: what is left in socket buffers by a broker that stops reading.
_WINDOW, _WINDOW_BYTES = 100, 256_000
#: Connections in a row that end while one event is sent before that counts as the event's failure.
_BREAKS_BY_ONE_EVENT = 3
#: How long a late confirm of an event is remembered: the lane tries the event again within its longest backoff.
_LATE_SECONDS = 60.0
#: What the broker has confirmed about a message: it is in a queue; there is no queue for it; it is refused.
ROUTED, RETURNED, NACKED = "routed", "returned", "nacked"


@dataclass(frozen=True, slots=True)
class Packet:
    """One message as it is published."""

    event_id: str
    body: bytes
    properties: Mapping[str, Any]


class AmqpLink:
    """Connects on first use and after `close`. Not thread-safe. Methods raise the errors of kombu and py-amqp."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._exchanges: set[str] = set()
        self._returned: set[str] = set()
        self._blocked = False
        #: Number of messages published on the channel; the broker's confirms use it.
        self._tag = 0
        #: Messages without a confirm: number -> (event id, bytes), the oldest first.
        self._under_way: dict[int, tuple[str, int]] = {}
        self._bytes = 0
        #: Where confirms go while `publish` runs.
        self._confirmed: dict[str, str] | None = None
        #: Events whose confirm came when nothing waited for it any more: the confirm, and when it came.
        self._late: dict[str, tuple[str, float]] = {}
        self._breaks: tuple[str, int] = ("", 0)

    @property
    def connection(self) -> Connection:
        """The kombu connection, open or not."""
        if self._connection is None:
            self._connection = Connection(
                self._address.url,
                ssl=self._address.ssl,
                connect_timeout=CONNECT_SECONDS,
                transport_options={
                    "read_timeout": SOCKET_SECONDS,
                    "write_timeout": SOCKET_SECONDS,
                    "on_blocked": self._on_blocked,
                    "on_unblocked": self._on_unblocked,
                },
            )
        return self._connection

    def ready(self, exchange: str | None) -> None:
        """Connect, and check that the exchange exists. Raises `DeliveryFailed` if it is unusable or an alarm lasts."""
        if self._producer is None:
            producer = Producer(self.connection, auto_declare=False, on_return=self._on_return)
            # Not kombu's `confirm_publish`, which waits after each message.
            producer.channel.confirm_select()
            producer.channel.events["basic_ack"].add(self._on_ack)
            producer.channel.events["basic_nack"].add(self._on_nack)
            self._producer = producer
        if self._under_way:
            self._await_late_confirms()
        if exchange is not None and exchange not in self._exchanges:
            ensure_exchange(self.connection.channel, exchange)
            self._exchanges.add(exchange)

    def publish(self, packets: Sequence[Packet], confirmed: dict[str, str]) -> None:
        """Publish what has no late confirm yet, and wait for all confirms.

        `confirmed` gets ROUTED, RETURNED or NACKED for each event id, also of those confirmed before an error.
        """
        if self._producer is None:
            raise AssertionError("ready() comes first")
        self._confirmed = confirmed
        try:
            for packet in packets:
                what, at = self._late.pop(packet.event_id, ("", 0.0))
                if what and clock.monotonic() - at < _LATE_SECONDS:
                    confirmed[packet.event_id] = what
                    continue
                size = len(packet.body)
                while self._under_way and (len(self._under_way) >= _WINDOW or self._bytes + size > _WINDOW_BYTES):
                    self._read()
                if self._blocked:
                    raise _blocked()
                self._tag += 1
                self._under_way[self._tag] = (packet.event_id, size)
                self._bytes += size
                self._producer.publish(packet.body, **packet.properties)
            while self._under_way:
                self._read()
        finally:
            self._confirmed = None
        self._breaks = ("", 0)

    def broke_on(self, event_id: str) -> bool:
        """Whether connections keep ending while this event is sent. Call it after each such end."""
        last, times = self._breaks
        times = times + 1 if last == event_id else 1
        self._breaks = (event_id, times)
        return times >= _BREAKS_BY_ONE_EVENT

    def close(self) -> None:
        """Drop the connection; the next use opens a new one."""
        connection, self._connection, self._producer = self._connection, None, None
        blocked, self._blocked = self._blocked, False
        self._exchanges.clear()
        self._returned.clear()
        self._under_way.clear()
        self._tag, self._bytes = 0, 0
        if connection is None:
            return
        try:
            if blocked and connection.connected:
                # The broker would not answer the request to close.
                connection.connection.collect()
            else:
                connection.release()
        except Exception as error:  # noqa: BLE001 - it is dropped either way; the next send opens a new one
            _log.info("broker_connection_not_closed", error=type(error).__name__)

    def _read(self) -> None:
        """Read the broker's next message. Raises `DeliveryFailed` if it does not confirm because of an alarm."""
        try:
            self.connection.drain_events(timeout=_BLOCKED_SECONDS if self._blocked else _CONFIRM_SECONDS)
        except TimeoutError:
            if self._blocked:
                raise _blocked() from None
            raise

    def _await_late_confirms(self) -> None:
        """Wait for the confirms of messages under way. Raises `DeliveryFailed` while the alarm lasts."""
        self._drain(_DRAIN_SECONDS)
        if self._blocked:
            raise _blocked()
        self._drain(_CONFIRM_SECONDS)
        if self._under_way:
            raise TimeoutError("no confirm")

    def _drain(self, seconds: float) -> None:
        """Read what the broker has sent, until all confirms have come or nothing has come for `seconds`."""
        while self._under_way:
            try:
                self.connection.drain_events(timeout=seconds)
            except TimeoutError:
                return

    def _on_blocked(self, _reason: str) -> None:
        self._blocked = True
        _log.warning("broker_blocked")

    def _on_unblocked(self) -> None:
        self._blocked = False

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:
        self._confirm(delivery_tag, multiple, ROUTED)

    def _on_nack(self, delivery_tag: int, multiple: bool) -> None:
        self._confirm(delivery_tag, multiple, NACKED)

    def _confirm(self, last: int, multiple: bool, what: str) -> None:
        # Tag 0 with `multiple` means all messages.
        numbers = [number for number in self._under_way if number <= last or last == 0] if multiple else [last]
        for number in numbers:
            event_id, size = self._under_way.pop(number, ("", 0))
            self._bytes -= size
            # A message without a queue is returned first, and then confirmed.
            result = RETURNED if event_id in self._returned else what
            self._returned.discard(event_id)
            if self._confirmed is not None:
                self._confirmed[event_id] = result
            elif result != NACKED:
                self._late[event_id] = (result, clock.monotonic())

    def _on_return(self, _error: Exception, _exchange: str, _routing_key: str, message: Any) -> None:
        self._returned.add(message.properties["correlation_id"])


def ensure_exchange(open_channel: Callable[[], Any], name: str) -> None:
    """Check that the exchange exists; declare a durable topic exchange only if it does not.

    Others may have declared it with other arguments, and the user may only be allowed to write to it. Raises
    `DeliveryFailed` if it is missing and may not be created.
    """
    channel = open_channel()
    try:
        channel.exchange_declare(name, "topic", passive=True)
    except NotFound:
        channel = open_channel()
        try:
            channel.exchange_declare(name, "topic", durable=True, auto_delete=False)
        except (AccessRefused, PreconditionFailed) as error:
            raise refusal(error, name) from error
    except AccessRefused:
        # The user may not even check its existence: publishing shows whether writing is allowed.
        return
    channel.close()


def refusal(error: ChannelError, exchange: str | None) -> DeliveryFailed:
    """The failure of an event, or of the subscription, whose message or exchange the broker refuses."""
    name, text = f'exchange "{exchange}"' if exchange else "the default exchange", clip(error)
    if isinstance(error, AccessRefused) and "Exchange.declare" in text:
        problem = f"{name} does not exist, and the user may not create it. Create it, or grant the permission configure"
    elif isinstance(error, PreconditionFailed) and "Exchange.declare" in text:
        problem = f"{name} exists with other settings: {text}. Create it as a durable topic exchange"
    elif isinstance(error, AccessRefused) and "access to topic" in text:
        problem = f"the user may not write with this routing key to {name}. Grant it: rabbitmqctl set_topic_permissions"
        return DeliveryFailed(f"broker: {problem}", reason="broker_refused", about_event=True)
    elif isinstance(error, AccessRefused):
        problem = f"the user may not write to {name}: {text}. Grant the permission write: rabbitmqctl set_permissions"
    elif isinstance(error, NotFound):
        problem = f"{name} does not exist: {text}. Create it, or let the bridge create it at the next try"
    else:
        # The broker takes other messages: this one is too large, or has a property that is not allowed.
        problem = f"it refuses this message: {text}. Check its size limit"
        return DeliveryFailed(f"broker: {problem}", reason="broker_refused", about_event=True)
    return DeliveryFailed(f"broker: {problem}", reason="exchange_refused")


def _blocked() -> DeliveryFailed:
    return DeliveryFailed(
        "broker: an alarm there blocks publishers. Free memory or disk space at the broker; delivery resumes by itself",
        reason="broker_blocked",
        charged=False,
    )
