"""Reads the receipts' queue: a thread of dispatch, on the bridge's own broker. Any number of processes may share it.

No Celery and no kombu consumer: those decode what they get. On a Redis broker entries are popped as bytes, on an AMQP
broker messages are got one by one, and `workers/inbound/messages.py` says what they are.
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
from bridge.errors import StateUnavailable, Unreadable
from bridge.net.tls import broker_address
from bridge.services import Services
from workers.inbound.celery_guard import guarded_connection
from workers.inbound.messages import Envelope, Receipt, read_receipt, read_receipt_entry
from workers.inbound.refusals import RefusalCounter

__all__ = ["ReceiptReader", "receipt_threads", "store"]

#: A Redis broker is asked for so long, an AMQP one so often, so that a stop is seen, seconds.
_WAIT_SECONDS = 1.0
#: After a failure of state or broker, seconds; a broker that stays away is asked less and less often.
_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 1.0, 10.0
_CONNECT_SECONDS, _SOCKET_SECONDS = 5, 10

log = structlog.get_logger(__name__)


def store(services: Services, receipt: Receipt) -> None:
    """Note that a receiver has processed an event. Raises `StateUnavailable`; may be repeated."""
    if not services.deliveries.record_receipt(receipt.subscription, receipt.event_id):
        # Confirmed twice, or too late: the receiver has it all the same. Anybody can cause this line.
        log.debug("receipt_not_awaited", subscription=receipt.subscription, event_id=receipt.event_id)


def receipt_threads(services: Services, stop: threading.Event) -> list[threading.Thread]:
    """The thread that reads receipts until `stop`, where a subscription may get some. It survives every error."""
    if not any(one.transport in ("celery", "kombu") for one in services.config.subscriptions.values()):
        return []

    def run() -> None:
        wait = _RETRY_SECONDS
        while not stop.is_set():
            try:
                ReceiptReader(services).run(stop)
            except Exception:
                # Receipts that are not read cost further sendings; the lanes and the process go on.
                log.exception("receipts_failed", retry_seconds=wait)
                stop.wait(wait)
                wait = min(wait * 2, _LONGEST_RETRY_SECONDS)

    return [threading.Thread(target=run, daemon=True, name="receipts")]


class _Queue(Protocol):
    """The queue on one kind of broker. Every method raises the errors of kombu's connection."""

    def take(self) -> Any:
        """The next message as it came, or None."""

    def read(self, message: Any, subscriptions: Container[str]) -> Receipt:
        """Raises `Unreadable`."""

    def done(self, message: Any) -> None:
        """The receipt is stored."""

    def refuse(self, message: Any) -> None:
        """Nobody can use the message."""

    def put_back(self, message: Any) -> None:
        """The message must be read again, by this process or another."""


class ReceiptReader:
    """Moves receipts from the queue into the state server, one after another."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._refusals = RefusalCounter(services, queues.RECEIPTS)
        self._connection: Connection | None = None

    def run(self, stop: threading.Event) -> None:
        """Read until `stop`. A broker or a state server that is away is waited for."""
        wait = _RETRY_SECONDS
        while not stop.is_set():
            try:
                queue = self._open(stop)
                while not stop.is_set():
                    self._one(queue, stop)
                    self._refusals.flush()
                    wait = _RETRY_SECONDS
            except self._errors() as error:
                # Only the kind: redis-py writes commands into its texts, with what was in them.
                log.warning("receipts_broker_unavailable", error=type(error).__name__, retry_seconds=wait)
                self._close()
                stop.wait(wait)
                wait = min(wait * 2, _LONGEST_RETRY_SECONDS)
        self._close()
        self._refusals.flush(force=True)

    def _one(self, queue: _Queue, stop: threading.Event) -> None:
        message = queue.take()
        if message is None:
            return
        try:
            receipt = queue.read(message, self._services.config.subscriptions)
        except Unreadable as error:
            self._refusals.count(error.reason)
            queue.refuse(message)
            return
        if self._store(receipt, stop):
            queue.done(message)
        else:
            self._put_back(queue, message, receipt)

    def _store(self, receipt: Receipt, stop: threading.Event) -> bool:
        """Hold the receipt, and read no other, until the state server takes it. False: stopped before."""
        held = False
        while True:
            try:
                store(self._services, receipt)
            except StateUnavailable as error:
                if not held:
                    log.warning("receipts_state_unavailable", error=str(error))
                held = True
                if stop.wait(_RETRY_SECONDS):
                    return False
            else:
                return True

    def _put_back(self, queue: _Queue, message: Any, receipt: Receipt) -> None:
        try:
            queue.put_back(message)
        except self._errors() as error:
            log.warning(
                "receipt_lost",
                subscription=receipt.subscription,
                event_id=receipt.event_id,
                error=type(error).__name__,
                remedy="none needed: the event is sent once more and confirmed again",
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
        known = self._connection or _connect(self._services.broker_url)
        return (*known.connection_errors, *known.channel_errors, KombuError, OSError)


class _RedisQueue:
    """The lists of the queue, one for each priority. What is popped is ours alone: a process that is killed with a
    receipt in its hands costs one more sending."""

    def __init__(self, connection: Connection) -> None:
        channel = connection.default_channel
        self._lists = [channel._q_for_pri(queues.RECEIPTS, step) for step in channel.priority_steps]
        self._client = channel._create_client()

    def take(self) -> tuple[bytes, bytes] | None:
        found: tuple[bytes, bytes] | None = self._client.brpop(self._lists, timeout=_WAIT_SECONDS)
        return found

    def read(self, message: tuple[bytes, bytes], subscriptions: Container[str]) -> Receipt:
        return read_receipt_entry(message[1], subscriptions)

    def done(self, message: tuple[bytes, bytes]) -> None:
        """It is off the list already."""

    refuse = done

    def put_back(self, message: tuple[bytes, bytes]) -> None:
        self._client.rpush(*message)


class _AmqpQueue:
    """The durable queue, without prefetching: what is not acknowledged comes back when the connection ends."""

    def __init__(self, connection: Connection, stop: threading.Event) -> None:
        self._stop = stop
        try:
            # As it is, if it is there: a receiver may have declared it with arguments of its own.
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
        found = message.properties
        headers, kinds = found.get("application_headers"), (found.get("content_type"), found.get("content_encoding"))
        body = message.body
        return read_receipt(Envelope(headers, body if isinstance(body, bytes) else b"", *kinds), subscriptions)

    def done(self, message: Any) -> None:
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
        broker.url, ssl=broker.ssl, connect_timeout=_CONNECT_SECONDS, transport_options=timeouts
    )
