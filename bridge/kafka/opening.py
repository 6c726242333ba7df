"""Opens the Kafka topic of a subscription; what is sent to it and what is found there, as data."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.config.model import Subscription
from bridge.errors import BridgeError, ConfigError

__all__ = ["Client", "Limits", "Record", "Topic", "place_of", "settings_of", "topic_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds: until the cluster has answered; until a message is confirmed."""

    #: Together with `confirm`, shorter than `subscriptions test` waits.
    connect: float = 10.0
    confirm: float = 20.0


_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Record:
    """One message."""

    key: str
    value: bytes
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What the cluster reports about a topic."""

    brokers: int
    partitions: int
    #: Partitions that cannot be written to now.
    leaderless: int
    #: Replicas of the partition that has the fewest.
    copies: int


class Client(Protocol):
    """Writes to one topic. Not thread-safe. Errors: `bridge/kafka/problems.py`."""

    def check(self) -> Topic:
        """Connect, and check that the topic is there. Creates nothing."""
        ...

    def write(self, records: Sequence[Record], *, until: float) -> list[str | BridgeError]:
        """Where each record is, or why it is not there. Nothing is begun after `until` (monotonic seconds)."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def topic_of(subscription: Subscription, limits: Limits = _LIMITS) -> Client:
    """The topic of a subscription; it connects on first use. Raises `ConfigError` if the client is not installed."""
    try:
        # An optional dependency.
        module = importlib.import_module("bridge.kafka.client")
    except ImportError as error:
        where = f"subscriptions.{subscription.name}.transport"
        raise ConfigError(
            f"{where}: confluent-kafka is not installed. Remedy: pip install 'confluent-kafka>=2.11,<3'"
        ) from error
    client: Client = module.KafkaTopic(subscription, limits)
    return client


def place_of(subscription: Subscription) -> str:
    """Where it writes, for people."""
    return f"topic {subscription.topic} of {', '.join(subscription.servers)}"


def settings_of(subscription: Subscription, limits: Limits) -> dict[str, Any]:
    """The settings of librdkafka for the connection. They hold the password."""
    tls, sasl = subscription.tls, subscription.sasl
    settings: dict[str, Any] = {
        "bootstrap.servers": ",".join(subscription.servers),
        "client.id": "attempt-bridge",
        "security.protocol": ("SASL_" if sasl else "") + ("SSL" if tls.enabled else "PLAINTEXT"),
        "socket.timeout.ms": round(limits.confirm * 500),
        "socket.connection.setup.timeout.ms": round(limits.connect * 1000),
        "reconnect.backoff.max.ms": 2000,
        "log_level": 0,
    }
    if tls.enabled:
        settings |= {"enable.ssl.certificate.verification": True, "ssl.endpoint.identification.algorithm": "https"}
        files = {"ca": tls.ca, "certificate": tls.certificate, "key": tls.key}
        settings |= {f"ssl.{name}.location": path for name, path in files.items() if path is not None}
    if sasl is not None:
        settings |= {"sasl.mechanism": sasl.mechanism, "sasl.username": sasl.user, "sasl.password": str(sasl.password)}
    return settings
