"""Names of subscriptions in queries and bodies: configured ones, and former ones that are not forgotten."""

from __future__ import annotations

from contextlib import suppress

from bridge.errors import StateUnavailable, clip
from bridge.text import did_you_mean
from bridge.web.api.common import refuse, services_here

__all__ = ["known_subscription", "subscription_names", "unknown_subscription"]


def subscription_names() -> list[str]:
    """All names, including those of subscriptions that are no longer in bridge.yaml but not forgotten."""
    services = services_here()
    return [*services.config.subscriptions, *services.orphans()]


def unknown_subscription(name: str, *, configured: bool = False) -> str | None:
    """The problem with an unknown name; None for a known one. Without a state server, only those in bridge.yaml are.

    `configured`: only those in bridge.yaml are.
    """
    names = list(services_here().config.subscriptions)
    if name in names:
        return None
    if configured:
        return f'unknown subscription: "{clip(name)}". {did_you_mean(name, names)}'
    with suppress(StateUnavailable):
        names = subscription_names()
    return None if name in names else f'unknown subscription: "{clip(name)}". {did_you_mean(name, names)}'


def known_subscription(name: str) -> str:
    """The name of a subscription in a query or body; refuses any other with 422."""
    problem = unknown_subscription(name)
    if problem:
        refuse(422, problem, errors={"subscription": [problem]})
    return name
