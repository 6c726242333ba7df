"""Transport `celery`: each event is one task of another service, in the form that a stock worker expects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery

from bridge.config.addresses import without_password
from bridge.config.model import Subscription
from bridge.errors import ConfigError
from workers.transports.broker import Broker, Message
from workers.transports.contract import Outgoing, ShownRequest, Try

__all__ = ["CeleryTask", "task_body"]

#: Celery copies task arguments as text into headers and logs; this replaces them.
_REDACTED = "<redacted>"
_EMBED = b'],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'


def task_body(event: bytes) -> bytes:
    """The body in Celery's message protocol 2, `[args, kwargs, embed]`; the event's JSON is not parsed."""
    return b"[[" + event + _EMBED


class CeleryTask:
    """Publishes `task` with the event as its only argument and the event id as task id.

    Always through the default exchange: a named exchange on Redis silently drops messages without a binding.
    """

    batch = 200

    def __init__(self, subscription: Subscription, broker_url: str) -> None:
        if subscription.task is None or subscription.queue is None:
            raise ConfigError(f"subscriptions.{subscription.name}: a celery subscription needs `task` and `queue`")
        self._queue = subscription.queue
        self._to = f"task {subscription.task} in queue {subscription.queue} of {without_password(broker_url)}"
        self._broker = Broker(broker_url)
        # Celery's own headers, built once: they depend on its version and differ only by id.
        app = Celery("attempt-bridge", set_as_current=False)
        template = app.amqp.as_task_v2("", subscription.task, argsrepr=_REDACTED, kwargsrepr=_REDACTED)
        self._headers: dict[str, Any] = template.headers

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        """Push the tasks in one round trip (Redis) or with a confirm for each (AMQP)."""
        return self._broker.publish(
            events,
            self._message,
            now=now,
            content_type="application/json",
            reply_to="",
        )

    def shown(self, event: Outgoing, *, now: float) -> ShownRequest:
        """What is put into the queue."""
        message = self._message(event)
        headers = {name: str(value) for name, value in message.headers.items() if value is not None}
        return ShownRequest(self._to, headers, message.body)

    def _message(self, event: Outgoing) -> Message:
        return Message(
            task_body(event.body),
            self._queue,
            event.id,
            self._headers | {"id": event.id, "root_id": event.id} | event.headers,
        )

    def close(self) -> None:
        self._broker.close()
