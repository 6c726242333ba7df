"""Reads the queue of receipts on the bridge's own broker, in a thread of dispatch. Any number of processes share it.

Without Celery or a kombu consumer, because those decode what they get: entries of a Redis list are popped as bytes,
AMQP messages are fetched singly, and `workers/inbound/messages.py` parses them.
"""

from __future__ import annotations

import threading
from collections.abc import Container
from typing import Any, Protocol

import structlog
from amqp.exceptions import NotFound
from kombu import Connection
from kombu.exceptions import KombuError

from bridge.config import queues
from bridge.delivery.receipts import Receipt
from bridge.errors import StateUnavailable, Unreadable
from bridge.net.broker_address import broker_address
from bridge.services import Services
from workers.inbound.celery_guard import guarded_connection
from workers.inbound.messages import Envelope, read_receipt, read_receipt_entry
from workers.inbound.refusals import RefusalCounter

__all__ = ["ReceiptReader", "receipt_threads", "record_receipt"]

#: How long to block on a Redis broker, or to wait between two reads of an AMQP broker, before a stop is noticed.
_WAIT_SECONDS = 1.0
#: Wait after a failure of state server or broker; for the broker it doubles up to the maximum.
_RETRY_SECONDS, _MAX_RETRY_SECONDS = 1.0, 10.0
_CONNECT_SECONDS, _SOCKET_SECONDS = 5, 10

_log = structlog.get_logger(__name__)


def record_receipt(services: Services, receipt: Receipt) -> None:
    """Record that a receiver has processed an event. Raises `StateUnavailable`; safe to repeat."""
    if not services.deliveries.record_receipt(receipt.subscription, receipt.event_id, now=services.now()):
        # Confirmed twice or too late; the receiver has the event either way. Anyone can cause this log line.
        _log.debug("receipt_not_awaited", subscription=receipt.subscription, event_id=receipt.event_id)


def receipt_threads(services: Services, stop: threading.Event) -> list[threading.Thread]:
    """The thread that reads receipts until `stop`, if a subscription can send any. It survives every error."""
    subscriptions = services.config.subscriptions.values()
    if not any(subscription.transport in ("celery", "kombu") for subscription in subscriptions):
        return []

    def run() -> None:
        wait = _RETRY_SECONDS
        while not stop.is_set():
            try:
                ReceiptReader(services).run(stop)
            except Exception:  # noqa: BLE001 - the lanes and the process continue
                # Unread receipts only cause repeated deliveries.
                _log.exception("receipt_reader_failed", retry_seconds=wait)
                stop.wait(wait)
                wait = min(wait * 2, _MAX_RETRY_SECONDS)

    return [threading.Thread(target=run, daemon=True, name="receipts")]


class _Queue(Protocol):
    """The queue on one kind of broker. Every method raises the errors of kombu's connection."""

    def take(self) -> Any:
        """The next message, unparsed, or None."""

    def read(self, message: Any, subscriptions: Container[str]) -> Receipt:
        """The receipt in a message. Raises `Unreadable`."""

    def acknowledge(self, message: Any) -> None:
        """Acknowledge a message whose receipt is recorded."""

    def refuse(self, message: Any) -> None:
        """Discard a message that cannot be used."""

    def put_back(self, message: Any) -> None:
        """Return a message to the queue, for this process or another."""


class ReceiptReader:
    """Moves receipts from the queue to the state server, one at a time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._refusals = RefusalCounter(services, queues.RECEIPTS)
        self._connection: Connection | None = None

    def run(self, stop: threading.Event) -> None:
        """Read until `stop`; waits while the broker or the state server is unavailable."""
        wait = _RETRY_SECONDS
        while not stop.is_set():
            try:
                queue = self._open(stop)
                while not stop.is_set():
                    self._read_message(queue, stop)
                    self._refusals.flush()
                    wait = _RETRY_SECONDS
            except self._errors() as error:
                # Only the type: redis-py writes commands, and so the receipt, into its texts.
                _log.warning("receipts_broker_unavailable", error=type(error).__name__, retry_seconds=wait)
                self._close()
                stop.wait(wait)
                wait = min(wait * 2, _MAX_RETRY_SECONDS)
        self._close()
        self._refusals.flush(force=True)

    def _read_message(self, queue: _Queue, stop: threading.Event) -> None:
        message = queue.take()
        if message is None:
            return
        try:
            receipt = queue.read(message, self._services.config.subscriptions)
        except Unreadable as error:
            self._refusals.count(error.reason)
            queue.refuse(message)
            return
        if self._record(receipt, stop):
            queue.acknowledge(message)
        else:
            self._put_back(queue, message, receipt)

    def _record(self, receipt: Receipt, stop: threading.Event) -> bool:
        """Retry until the state server has the receipt, without reading another one. False if stopped before."""
        logged = False
        while True:
            try:
                record_receipt(self._services, receipt)
            except StateUnavailable as error:
                if not logged:
                    _log.warning("receipts_state_unavailable", error=str(error))
                logged = True
                if stop.wait(_RETRY_SECONDS):
                    return False
            else:
                return True

    def _put_back(self, queue: _Queue, message: Any, receipt: Receipt) -> None:
        try:
            queue.put_back(message)
        except self._errors() as error:
            _log.warning(
                "receipt_lost",
                subscription=receipt.subscription,
                event_id=receipt.event_id,
                error=type(error).__name__,
                remedy="none needed: the event is delivered again and confirmed then",
            )

    def _open(self, stop: threading.Event) -> _Queue:
        self._connection = _connect(self._services.broker_url)
        if self._connection.transport.driver_type == "redis":
            return _RedisQueue(self._connection)
        return _AmqpQueue(self._connection, stop)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _errors(self) -> tuple[type[BaseException], ...]:
        connection = self._connection or _connect(self._services.broker_url)
        return (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)


class _RedisQueue:
    """The lists of the queue, one per priority. A popped entry is off the list: if the process is killed before the
    receipt is recorded, the event is delivered again."""

    def __init__(self, connection: Connection) -> None:
        channel = connection.default_channel
        self._lists = [channel._q_for_pri(queues.RECEIPTS, step) for step in channel.priority_steps]
        self._client = channel._create_client()

    def take(self) -> tuple[bytes, bytes] | None:
        entry: tuple[bytes, bytes] | None = self._client.brpop(self._lists, timeout=_WAIT_SECONDS)
        return entry

    def read(self, message: tuple[bytes, bytes], subscriptions: Container[str]) -> Receipt:
        return read_receipt_entry(message[1], subscriptions)

    def acknowledge(self, message: tuple[bytes, bytes]) -> None:
        """Nothing to do: the entry is off the list already."""

    refuse = acknowledge

    def put_back(self, message: tuple[bytes, bytes]) -> None:
        self._client.rpush(*message)


class _AmqpQueue:
    """The durable queue, without prefetching: unacknowledged messages return to it when the connection ends."""

    def __init__(self, connection: Connection, stop: threading.Event) -> None:
        self._stop = stop
        try:
            # Passive first: a receiver may have declared it with other arguments.
            connection.channel().queue_declare(queues.RECEIPTS, passive=True)
        except NotFound:
            connection.channel().queue_declare(queues.RECEIPTS, durable=True, auto_delete=False)
        self._channel = connection.channel()
        self._channel.auto_decode = False

    def take(self) -> Any:
        message = self._channel.basic_get(queues.RECEIPTS)
        if message is None:
            self._stop.wait(_WAIT_SECONDS)
        return message

    def read(self, message: Any, subscriptions: Container[str]) -> Receipt:
        properties, body = message.properties, message.body
        envelope = Envelope(
            properties.get("application_headers"),
            body if isinstance(body, bytes) else b"",
            properties.get("content_type"),
            properties.get("content_encoding"),
        )
        return read_receipt(envelope, subscriptions)

    def acknowledge(self, message: Any) -> None:
        self._channel.basic_ack(message.delivery_tag)

    def refuse(self, message: Any) -> None:
        self._channel.basic_reject(message.delivery_tag, requeue=False)

    def put_back(self, message: Any) -> None:
        self._channel.basic_reject(message.delivery_tag, requeue=True)


def _connect(url: str) -> Connection:
    timeouts = (
        {"read_timeout": _SOCKET_SECONDS, "write_timeout": _SOCKET_SECONDS}
        if url.startswith("amqp")
        else {"socket_timeout": _SOCKET_SECONDS, "socket_connect_timeout": _CONNECT_SECONDS, "socket_keepalive": True}
    )
    broker = broker_address(url)
    return guarded_connection()(
        broker.url,
        ssl=broker.ssl,
        connect_timeout=_CONNECT_SECONDS,
        transport_options={**timeouts, **broker.options},
    )
