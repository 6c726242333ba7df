"""The transports: each hands a batch of events to one subscription and says of each event whether that succeeded.

When to send, and what follows a failure, is decided in `workers/dispatch/lane.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bridge.config.model import Subscription
from workers.transports.celery_task import CeleryTask
from workers.transports.contract import Outcome, Outgoing, Transport
from workers.transports.http_push import HttpPush
from workers.transports.kombu_queue import KombuQueue

__all__ = ["TRANSPORTS", "Outcome", "Outgoing", "Transport", "transport_for"]

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
