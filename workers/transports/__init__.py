"""The transports: each sends a batch of events to one subscription and returns a try per event.

`workers/dispatch/lane.py` decides when to send and what follows a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from bridge.config.model import Subscription
from bridge.errors import BridgeError, DeliveryFailed
from bridge.net.push_loop import PushLoop
from workers.transports.batch_push import BatchPush
from workers.transports.celery_task import CeleryTask
from workers.transports.contract import Outgoing, ShowsRequest, Transport, Try, tries_of
from workers.transports.http_push import HttpPush
from workers.transports.kafka_topic import KafkaMessages
from workers.transports.kombu_queue import KombuQueue
from workers.transports.notifications import Notifications
from workers.transports.sql_tables import SqlTables

__all__ = ["TRANSPORTS", "Outgoing", "Transport", "Try", "transport_for", "transport_or_deferred"]

_log = structlog.get_logger(__name__)

#: `transport` of bridge.yaml -> factory of (subscription, URL of the broker, loop for http).
TRANSPORTS: Mapping[str, Callable[[Subscription, str, PushLoop | None], ShowsRequest]] = {
    "celery": lambda subscription, broker_url, _: CeleryTask(subscription, broker_url),
    "kombu": lambda subscription, broker_url, _: KombuQueue(subscription, broker_url),
    "http": lambda subscription, _, loop: (BatchPush if subscription.output.converts else HttpPush)(subscription, loop),
    "sql": lambda subscription, _broker_url, _loop: SqlTables(subscription),
    "kafka": lambda subscription, _broker_url, _loop: KafkaMessages(subscription),
    "notify": lambda subscription, _broker_url, _loop: Notifications(subscription),
}


def transport_for(subscription: Subscription, broker_url: str, loop: PushLoop | None = None) -> ShowsRequest:
    """The transport of a subscription; it connects on first use and is not thread-safe.

    `broker_url`: for subscriptions without their own broker. `loop`: shared by http transports; without it each has
    its own. Raises `ConfigError`.
    """
    return TRANSPORTS[subscription.transport](subscription, subscription.broker or broker_url, loop)


def transport_or_deferred(subscription: Subscription, broker_url: str, loop: PushLoop | None = None) -> Transport:
    """The transport of a subscription; if it cannot be created, one that tries again with every send."""
    try:
        return transport_for(subscription, broker_url, loop)
    except Exception:  # noqa: BLE001 - the other subscriptions are served
        _log.exception("transport_not_created", subscription=subscription.name)
        return _DeferredTransport(subscription, broker_url)


class _DeferredTransport:
    """Replaces a transport that could not be created; its lane backs off and reports why."""

    batch = 1

    def __init__(self, subscription: Subscription, broker_url: str) -> None:
        self._subscription, self._broker_url = subscription, broker_url
        self._transport: Transport | None = None

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        if self._transport is None:
            try:
                self._transport = transport_for(self._subscription, self._broker_url)
            except Exception as error:  # noqa: BLE001 - the first one was logged with its frames
                cause = str(error) if isinstance(error, BridgeError) else type(error).__name__
                problem = f"subscription {self._subscription.name} cannot be served: {cause}"
                failure = DeliveryFailed(problem, reason="not_servable", charged=False)
                return tries_of([failure] * len(events), at=now, seconds=0.0)
            self.batch = self._transport.batch
        return self._transport.send(events, now=now)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
