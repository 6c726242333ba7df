"""The transports: each hands a batch of events to one subscription and says of each event whether that succeeded.

When to send, and what follows a failure, is decided in `workers/dispatch/lane.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from bridge.config.model import Subscription
from bridge.errors import BridgeError, DeliveryFailed
from workers.transports.celery_task import CeleryTask
from workers.transports.contract import Outcome, Outgoing, Transport
from workers.transports.http_push import HttpPush
from workers.transports.kombu_queue import KombuQueue

__all__ = ["TRANSPORTS", "Outcome", "Outgoing", "Transport", "transport_for", "transport_or_deferred"]

_log = structlog.get_logger(__name__)

#: `transport` of bridge.yaml -> (subscription, address of the bridge's own broker) -> transport.
TRANSPORTS: Mapping[str, Callable[[Subscription, str], Transport]] = {
    "celery": CeleryTask,
    "kombu": KombuQueue,
    "http": lambda subscription, _: HttpPush(subscription),
}


def transport_for(subscription: Subscription, broker_url: str) -> Transport:
    """The transport of a subscription; it connects on first use. Not for several threads at once.

    `broker_url`: used where the subscription names no broker. Raises `ConfigError`.
    """
    return TRANSPORTS[subscription.transport](subscription, subscription.broker or broker_url)


def transport_or_deferred(subscription: Subscription, broker_url: str) -> Transport:
    """The same, without an error: where it cannot be made now, the events wait and each send tries to make it."""
    try:
        return transport_for(subscription, broker_url)
    except Exception:  # noqa: BLE001 - the other subscriptions are served all the same
        _log.exception("transport_not_made", subscription=subscription.name)
        return _Later(subscription, broker_url)


class _Later:
    """Stands in for a transport that could not be made; its lane waits longer and longer and is seen to wait."""

    batch = 1

    def __init__(self, subscription: Subscription, broker_url: str) -> None:
        self._subscription, self._broker_url = subscription, broker_url
        self._made: Transport | None = None

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Outcome]:
        if self._made is None:
            try:
                self._made = transport_for(self._subscription, self._broker_url)
            except Exception as error:  # noqa: BLE001 - logged with its frames when it happened first
                told = str(error) if isinstance(error, BridgeError) else type(error).__name__
                problem = f"subscription {self._subscription.name} cannot be served: {told}"
                failure = DeliveryFailed(problem, reason="not_servable", charged=False)
                return [failure] * len(events)
            self.batch = self._made.batch
        return self._made.send(events, now=now)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
