"""Checks of the services of notify subscriptions: Apprise is installed and supports each. Sends nothing."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.config.model import Subscription
from bridge.errors import ConfigError
from bridge.monitoring.server_checks import FAILURE, OK, Finding
from bridge.notify.services import open_services

__all__ = ["services"]


def services(subscription: Subscription) -> Iterator[Finding]:
    """The finding about the services of one subscription."""
    label = f"services of subscription {subscription.name}"
    try:
        opened = open_services(subscription.urls, where="urls", allow_private=subscription.allow_private)
    except ConfigError as error:
        fact, _, remedy = str(error).partition(". Remedy: ")
        yield Finding(label, FAILURE, fact, remedy)
        return
    names = ", ".join(service.name for service in opened)
    yield Finding(label, OK, f"{names}; attempt-bridge subscriptions test {subscription.name} sends a message")
