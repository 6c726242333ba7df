"""For the pages of deliveries: two subscriptions, and events that they refuse or take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import redis

from bridge.config.model import RetryPolicy, Subscription
from bridge.errors import DeliveryFailed
from bridge.services import Services
from tests.support.dispatch import Receiver, publish, refuse, send_due
from tests.support.watches_api import TOKENS, access_of, build
from workers.dispatch.replays import ReplayRunner
from workers.transports.contract import Outcome, Outgoing

__all__ = ["BOOK", "CRM", "HOSTILE", "dead", "finish", "hostile", "send", "with_subscriptions"]

#: `crm` gives up at once, `book` tries again after a minute.
CRM = Subscription(name="crm", transport="http", url="https://crm.example.test/hook", retry=RetryPolicy(schedule=()))
BOOK = Subscription(
    name="book", transport="http", url="https://book.example.test/hook", retry=RetryPolicy(schedule=(60.0,))
)
#: What a receiver may answer.
HOSTILE = "</code></pre><script>alert(1)</script><img src=x onerror='alert(2)'>\" autofocus onfocus=\"alert(3)"


def with_subscriptions(state: redis.Redis, folder: Path) -> Services:
    """Services with both."""
    services = build(state, folder, access=access_of(TOKENS))
    return replace(services, config=replace(services.config, subscriptions={"crm": CRM, "book": BOOK}))


def send(services: Services, subscription: Subscription = CRM, receiver: Receiver | None = None) -> Receiver:
    """Send what is due now; a receiver that is not given takes everything."""
    receiver = receiver or Receiver()
    send_due(services.state, receiver, subscription, services.now() + 1, steps=1000)
    return receiver


def dead(services: Services, *numbers: int) -> list[str]:
    """Publish events that `crm` refuses; their ids."""
    ids = publish(services.state, *numbers)
    send(services, receiver=Receiver(refuse, status=500, body=b"out of order, ask sam@example.test"))
    return ids


def hostile(_: Outgoing) -> Outcome:
    """A failure whose text is markup."""
    return DeliveryFailed(f"receiver answered 500: {HOSTILE}", reason="receiver_error")


def finish(services: Services) -> None:
    """Run all replay jobs to their end."""
    runner = ReplayRunner(services, "test", live_seconds=0.0)
    for _ in range(100):
        if not services.replays.running():
            runner.leave()
            return
        runner.step(services.now)
    raise AssertionError("still running")
