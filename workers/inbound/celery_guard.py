"""Guards Celery, kombu and py-amqp against messages that would stop them: they only get checked messages.

These libraries trust their queues. An entry that is not JSON, a header of the wrong type or a date before the year 1
raises in the worker's loop; the message is put back, and then stops the next worker. So `workers/inbound/messages.py`
reads every message first, and the libraries get a new message built from the checked parts.
"""

from __future__ import annotations

import functools
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import redis
from amqp.method_framing import frame_handler
from amqp.serialization import PROPERTY_CLASSES
from celery.worker.consumer import Consumer
from kombu import Connection
from kombu.connection import ConnectionPool, PooledConnection
from kombu.transport import pyamqp
from kombu.transport import redis as kombu_redis

from bridge.config import queues
from bridge.errors import Unreadable
from workers.inbound.confirms import ConfirmingChannel, ConfirmingConnection
from workers.inbound.messages import Envelope, TaskMessage, build_entry, parse_entry, read_task
from workers.inbound.refusals import RefusalCounter

__all__ = ["MessageFilter", "filtering_consumer", "guarded_connection"]

_logger = logging.getLogger(__name__)

#: An AMQP content header begins with class, weight and length of the body; the properties follow.
_HEADER_BYTES = 12
_NO_PROPERTIES = b"\0\0"


class MessageFilter:
    """Passes the bridge's own tasks and counts the rest. `arguments`: task -> its number of arguments."""

    def __init__(
        self, arguments: Mapping[str, int], subscriptions: Mapping[str, object], refusals: RefusalCounter
    ) -> None:
        self._arguments = arguments
        self._subscriptions = subscriptions
        self.refusals = refusals

    def entry(self, entry: bytes) -> bytes | None:
        """The entry of the worker's list on a Redis broker, rebuilt; None if it is refused."""
        try:
            message = read_task(parse_entry(entry), self._arguments, self._subscriptions)
        except Unreadable as error:
            self.refusals.count(error.reason)
            return None
        return build_entry(message, str(uuid.uuid4()))

    def message(self, envelope: Envelope) -> TaskMessage | None:
        """The task in a message of the worker's queue; None if it is refused."""
        try:
            return read_task(envelope, self._arguments, self._subscriptions)
        except Unreadable as error:
            self.refusals.count(error.reason)
            return None

    def may_restore(self, saved: bytes) -> bool:
        """Whether kombu may put an unacknowledged message back on its queue. `saved`: kombu's record of it.

        False for a message that is refused or that kombu cannot read. All programs on the database share the hash of
        these records; messages in other queues are not checked.
        """
        try:
            payload, _, queue = json.loads(saved)
            properties = payload["properties"]
            readable = isinstance(payload["headers"], dict) and isinstance(properties["delivery_info"], dict)
        except (ValueError, TypeError, KeyError, RecursionError):
            readable, queue = False, None
        if not readable:
            self.refusals.count("no_envelope")
            return False
        return queue != queues.WORKER or self.entry(json.dumps(payload).encode()) is not None


def guarded_connection(message_filter: MessageFilter | None = None) -> type[Connection]:
    """kombu's `Connection` with guarded transports. `message_filter`: for the worker's queue on a Redis broker."""

    class GuardedConnection(Connection):  # type: ignore[misc]  # kombu has no types
        def get_transport_cls(self) -> type:
            return _guarded(super().get_transport_cls(), message_filter)

        def Pool(self, limit: int | None = None, **kwargs: Any) -> ConnectionPool:
            return GuardedPool(self, limit, **kwargs)

    class GuardedPooledConnection(GuardedConnection, PooledConnection):  # type: ignore[misc]  # kombu has no types
        pass

    class GuardedPool(ConnectionPool):  # type: ignore[misc]  # kombu has no types
        """The pool on whose connections Celery publishes; kombu's own would be unguarded."""

        def new(self) -> GuardedPooledConnection:
            return GuardedPooledConnection(self, **dict(self.connection._info(resolve=False)))

    return GuardedConnection


def filtering_consumer(message_filter: MessageFilter) -> type[Consumer]:
    """Celery's consumer class, refusing what the filter does not pass."""

    class FilteringConsumer(Consumer):  # type: ignore[misc]  # celery has no types
        class Blueprint(Consumer.Blueprint):  # type: ignore[misc]  # celery has no types
            """Without delayed delivery, which Celery adds for a quorum queue.

            That would declare 28 queues, and at a reconnection would retry a node that is down over and over before any
            task is read. Ticks have no delay.
            """

            default_steps = [  # noqa: RUF012 - Celery's own name
                step for step in Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
            ]

        def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
            handle = super().create_task_handler(*args, **kwargs)

            def handle_filtered(message: Any) -> None:
                body = message.body
                # py-amqp decodes the body by its content encoding if it can.
                raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body or b"")
                envelope = Envelope(message.headers, raw, message.content_type, message.content_encoding)
                task = message_filter.message(envelope)
                if task is None:
                    message.reject_log_error(_logger, self.connection_errors)
                    return
                message.headers, message.body = task.headers(), task.body()
                message.properties = {"correlation_id": task.id}
                message.content_type, message.content_encoding = "application/json", "utf-8"
                handle(message)

            return handle_filtered

        def on_decode_error(self, message: Any, exc: Exception) -> None:
            """Refuse the message; Celery's own method logs the body."""
            message_filter.refusals.count("bad_body")
            message.reject_log_error(_logger, self.connection_errors)

    return FilteringConsumer


@functools.cache
def _guarded(transport: Any, message_filter: MessageFilter | None) -> type:
    if issubclass(transport, kombu_redis.Transport):
        members: dict[str, Any] = (
            {} if message_filter is None else {"Channel": _redis_channel(transport.Channel, message_filter)}
        )
    elif issubclass(transport, pyamqp.Transport):
        members = {"Connection": _AmqpConnection}
    else:
        raise TypeError(f"no guard for {transport.__name__}")
    return type(f"Guarded{transport.__name__}", (transport,), members)


def _redis_channel(channel: type, message_filter: MessageFilter) -> type:
    class Client(redis.Redis):
        def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
            """Filter the reply to BRPOP before kombu parses it; a refused entry counts as no reply."""
            # redis-py is only partly typed.
            answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
            if command_name != "BRPOP" or not answer or not queues.is_own(answer[0].decode()):
                return answer
            entry = message_filter.entry(answer[1])
            return None if entry is None else [answer[0], entry]

    class QoS(kombu_redis.QoS):  # type: ignore[misc]  # kombu has no types
        def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
            with self.channel.conn_or_acquire(client) as connected:
                saved = connected.hget(self.unacked_key, tag)
            if saved is not None and not message_filter.may_restore(saved):
                self._remove_from_indices(tag).execute()
            else:
                super().restore_by_tag(tag, client, leftmost)

    class Channel(channel):  # type: ignore[misc]  # kombu has no types
        def _get_client(self) -> type:
            super()._get_client()
            return Client

    Channel.QoS = QoS
    return Channel


class _AmqpChannel(ConfirmingChannel):
    def message_to_python(self, raw_message: Any) -> Any:
        # kombu would decompress a body of any size if the sender sets this header.
        raw_message.properties.get("application_headers", {}).pop("compression", None)
        return super().message_to_python(raw_message)


class _AmqpConnection(ConfirmingConnection):
    Channel = _AmqpChannel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, frame_handler=_frames, **kwargs)


def _frames(connection: Any, callback: Any) -> Callable[[Any], Any]:
    on_frame = frame_handler(connection, callback)

    def guarded(frame: Any) -> Any:
        kind, channel, payload = frame
        return on_frame((kind, channel, _with_readable_properties(payload) if kind == 2 else payload))

    return guarded


def _with_readable_properties(header: Any) -> Any:
    """The content header; without its properties if py-amqp cannot read them.

    A sender can write a date in the year 36,000,000,000 or text that is not UTF-8 there, and RabbitMQ passes it on.
    """
    try:
        PROPERTY_CLASSES[int.from_bytes(bytes(header[:2]), "big")](header, _HEADER_BYTES)
    except Exception:  # noqa: BLE001 - on any error, the message continues without properties
        return bytes(header[:_HEADER_BYTES]) + _NO_PROPERTIES
    return header
