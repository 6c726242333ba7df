"""Checks of bridge.yaml across its sections, and of its addresses."""

from __future__ import annotations

import math
from collections.abc import Iterable

from marshmallow import ValidationError

from bridge.config import queues
from bridge.config.model import BridgeConfig, Config, Source, Subscription
from bridge.config.schemas import broker_problem, state_problem
from bridge.config.yaml_document import Document, Reference
from bridge.errors import ConfigError, clip
from bridge.settings import PREFIX, Settings
from bridge.text import duration_text

__all__ = ["check_addresses", "check_broker", "check_memory", "check_retention"]


def check_memory(bridge: BridgeConfig, sources: Iterable[Source], document: Document) -> None:
    """Check that attempts are remembered longer than polls look back."""
    for source in sources:
        if bridge.remember_attempts <= source.poll.look_back:
            document.add(
                ("sources", source.name, "poll", "look_back"),
                f"{duration_text(source.poll.look_back)} is not shorter than bridge.remember_attempts "
                f"({duration_text(bridge.remember_attempts)}): a forgotten attempt would be published again",
            )


def check_retention(bridge: BridgeConfig, subscriptions: Iterable[Subscription], document: Document) -> None:
    """Check that events are kept longer than the tries of a delivery can take."""
    longest = max(subscriptions, key=_longest_delivery, default=None)
    if longest is not None and _longest_delivery(longest) > bridge.retention.events:
        hours = math.ceil(_longest_delivery(longest) / 3600)
        document.add(
            ("bridge", "retention", "events"),
            f"{duration_text(bridge.retention.events)} is shorter than the tries of subscription {longest.name}, which "
            f"can take {duration_text(hours * 3600.0)}. Remedy: write {math.ceil(hours / 24)}d or more",
        )


def _longest_delivery(subscription: Subscription) -> float:
    """At most how many seconds pass from reading an event to its last try, as long as the circuit stays closed."""
    policy, receipts = subscription.retry, subscription.receipts
    within = receipts.within if receipts.required else 0.0
    tries = sum(max(step * (1 + policy.jitter), within) for step in policy.schedule)
    return tries + (subscription.digest or 0.0)


def check_broker(config: Config, state: str, broker: str) -> None:
    """Check that the broker is not the state, and that no receiver reads a queue of the bridge. Raises `ConfigError`.

    Not part of the file's own checks: the environment and the embedded server override its addresses.
    """
    problems = []
    if queues.same_server(state, broker):
        problems.append(
            f"{config.path}: bridge.broker: is the same Redis database as the state: receivers could read and delete "
            "the bridge's keys. Remedy: give the broker another database, or better another server"
        )
    problems += [
        f'{config.path}: subscriptions.{subscription.name}.queue: "{clip(subscription.queue)}" is read by the bridge '
        "itself. Remedy: name the receiver's own queue"
        for subscription in config.subscriptions.values()
        if queues.is_own(subscription.queue)
        and (subscription.broker is None or queues.same_server(subscription.broker, broker))
    ]
    if problems:
        raise ConfigError(*problems)


def check_addresses(settings: Settings) -> None:
    """Check the addresses from the environment as strictly as those of the file, except that passwords are allowed.

    Raises `ConfigError`.
    """
    problems = []
    for name, given, problem_of in (
        ("STATE", settings.state, state_problem),
        ("BROKER", settings.broker, broker_problem),
    ):
        try:
            problem = problem_of(Reference(given)) if given else None
        except ValidationError as error:
            problem = str(error.messages[0])
        if problem:
            problems.append(f"environment: {PREFIX}{name}: {problem}")
    if problems:
        raise ConfigError(*problems)
