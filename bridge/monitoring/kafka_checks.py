"""Checks of the topics of kafka subscriptions: connection, rights, replicas. Creates nothing."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.config.model import Subscription
from bridge.errors import BridgeError, Retryable
from bridge.kafka.opening import Topic, place_of, topic_of
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from bridge.monitoring.total_time import within

__all__ = ["topic"]


def topic(subscription: Subscription) -> Iterator[Finding]:
    """The finding about the topic of one subscription."""
    label = f"topic of subscription {subscription.name}"
    yield from within(
        lambda: [_topic(subscription, label)],
        lambda problem: Finding(label, FAILURE, problem, "check what listens there, and the network", unreachable=True),
    )


def _topic(subscription: Subscription, label: str) -> Finding:
    try:
        topic = topic_of(subscription).check()
    except BridgeError as error:
        fact, _, remedy = str(error).partition(". Remedy: ")
        return Finding(label, FAILURE, fact.removeprefix("kafka: "), remedy, unreachable=isinstance(error, Retryable))
    return judge(subscription, label, topic)


def judge(subscription: Subscription, label: str, topic: Topic) -> Finding:
    """The finding about a topic that is there."""
    link = "TLS, certificate and host name verified" if subscription.tls.enabled else "not encrypted"
    text = f"{place_of(subscription)}: {topic.partitions} partitions on {topic.brokers} brokers, {link}"
    if topic.leaderless:
        return Finding(
            label,
            FAILURE,
            f"{topic.leaderless} of {topic.partitions} partitions have no leader: their events wait",
            "start the brokers that are missing",
        )
    if topic.copies < 2:
        return Finding(
            label,
            WARNING,
            f"{text}; only one copy of each message: a disk that fails loses events",
            "give the topic three replicas and min.insync.replicas 2",
        )
    return Finding(label, OK, f"{text}, {topic.copies} copies")
