"""Keeps foreign bytes away from what Celery, kombu and py-amqp do not survive: they see checked messages alone.

Those libraries trust their queues. An entry that is no JSON, a header of another type or a time before the year 1
raises in the worker's loop; the message is put back, and the next worker dies of it, too. So a message is read by
`workers/inbound/messages.py` first, and what goes on is made anew of the checked parts.
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
from kombu.transport import pyamqp
from kombu.transport import redis as kombu_redis

from bridge.config import queues
from bridge.errors import Unreadable
from workers.inbound.messages import Envelope, TaskMessage, build_entry, parse_entry, read_task
from workers.inbound.refusals import RefusalCounter

__all__ = ["MessageFilter", "filtering_consumer", "guarded_connection"]

_logger = logging.getLogger(__name__)

#: Class, weight and length of the body; behind it the properties of an AMQP content header.
_HEADER_BYTES = 12
_NO_PROPERTIES = b"\0\0"


class MessageFilter:
    """Lets the bridge's own tasks through and counts the rest. `arguments`: how many each task takes."""

    def __init__(
        self, arguments: Mapping[str, int], subscriptions: Mapping[str, object], refusals: RefusalCounter
    ) -> None:
        self._arguments = arguments
        self._subscriptions = subscriptions
        self.refusals = refusals

    def entry(self, entry: bytes) -> bytes | None:
        """An entry of the worker's list on a Redis broker, made anew; None: refused."""
        try:
            message = read_task(parse_entry(entry), self._arguments, self._subscriptions)
        except Unreadable as error:
            self.refusals.count(error.reason)
            return None
        return build_entry(message, str(uuid.uuid4()))

    def message(self, envelope: Envelope) -> TaskMessage | None:
        """A message of the worker's queue; None: refused."""
        try:
            return read_task(envelope, self._arguments, self._subscriptions)
        except Unreadable as error:
            self.refusals.count(error.reason)
            return None

    def may_restore(self, saved: bytes) -> bool:
        """Whether kombu may put an unacknowledged message back: not what is refused, nor what kombu cannot read.

        The hash with these notes is shared by all programs on the database; messages of others are not judged.
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
    """kombu's `Connection` over guarded transports. `screen`: of the worker's queue on a Redis broker."""

    class GuardedConnection(Connection):  # type: ignore[misc]  # kombu has no types
        def get_transport_cls(self) -> type:
            return _guarded(super().get_transport_cls(), message_filter)

    return GuardedConnection


def filtering_consumer(message_filter: MessageFilter) -> type[Consumer]:
    """Celery's consumer, which refuses what the screen does not let through."""

    class ScreeningConsumer(Consumer):  # type: ignore[misc]  # celery has no types
        def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
            handle = super().create_task_handler(*args, **kwargs)

            def screened(message: Any) -> None:
                body = message.body
                # py-amqp decodes by the content encoding where it can.
                raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body or b"")
                kinds = (message.content_type, message.content_encoding)
                found = message_filter.message(Envelope(message.headers, raw, *kinds))
                if found is None:
                    message.reject_log_error(_logger, self.connection_errors)
                    return
                message.headers, message.body = found.headers(), found.body()
                message.properties = {"correlation_id": found.id}
                message.content_type, message.content_encoding = "application/json", "utf-8"
                handle(message)

            return screened

        def on_decode_error(self, message: Any, exc: Exception) -> None:
            """Celery's own writes the body into the log."""
            message_filter.refusals.count("bad_body")
            message.reject_log_error(_logger, self.connection_errors)

    return ScreeningConsumer


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
            """kombu parses what BRPOP brings at once. A refused entry is no answer."""
            # redis-py has types in part only.
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


class _AmqpChannel(pyamqp.Channel):  # type: ignore[misc]  # kombu has no types
    def message_to_python(self, raw_message: Any) -> Any:
        # kombu would unpack whatever a sender calls packed, of any size.
        raw_message.properties.get("application_headers", {}).pop("compression", None)
        return super().message_to_python(raw_message)


class _AmqpConnection(pyamqp.Connection):  # type: ignore[misc]  # kombu has no types
    Channel = _AmqpChannel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, frame_handler=_frames, **kwargs)


def _frames(connection: Any, callback: Any) -> Callable[[Any], Any]:
    on_frame = frame_handler(connection, callback)

    def guarded(frame: Any) -> Any:
        kind, channel, payload = frame
        return on_frame((kind, channel, _readable(payload) if kind == 2 else payload))

    return guarded


def _readable(header: Any) -> Any:
    """A content header whose properties py-amqp can read; one that it cannot goes on without them.

    Any sender may write a time in the year 36,000,000,000 or text that is no UTF-8 there, and RabbitMQ passes it on.
    """
    try:
        PROPERTY_CLASSES[int.from_bytes(bytes(header[:2]), "big")](header, _HEADER_BYTES)
    except Exception:  # noqa: BLE001 - whatever it cannot read, the message goes on as one without properties
        return bytes(header[:_HEADER_BYTES]) + _NO_PROPERTIES
    return header
