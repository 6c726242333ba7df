"""Clients of the state server, with their time-outs."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from bridge.errors import ConfigError
from bridge.net.server_group import is_group, server_group
from bridge.net.tls import address_problem
from bridge.state.cluster.client import ClusterClient
from bridge.state.cluster.node_mark import NodeMark
from bridge.state.confirming_client import Confirmation, ConfirmingClient
from bridge.state.sentinel_client import sentinel_client

__all__ = ["PUBLISH_TIMEOUT_SECONDS", "state_client"]

#: A web request must be answered within 3 s even when the state server stalls: 0.8 s twice, and the gate in front.
PUBLISH_TIMEOUT_SECONDS = 0.8
#: What a write may take besides waiting for replicas.
_BESIDE_WAIT_SECONDS = 0.25


def state_client(
    url: str,
    *,
    timeout: float = PUBLISH_TIMEOUT_SECONDS,
    retries: int = 1,
    confirmation: Confirmation | None = None,
) -> redis.Redis:
    """A client of the state server. `confirmation`: what replicas must confirm of each write.

    Only scripts that may be repeated go through a client with retries: redis-py repeats any command whose reply was
    lost. Use `retries=0` for consumer groups (a repeated XREADGROUP hides entries). No health check: its PING is
    retried within each retry of the command, which stretches an error to 14 s.

    Raises `ConfigError` for an address that would not verify its server.
    """
    if confirmation is None:
        return _client(url, timeout, retries)
    client = _client(url, max(timeout, confirmation.within + _BESIDE_WAIT_SECONDS), retries)
    if not isinstance(client, ClusterClient):
        return ConfirmingClient(client, confirmation)

    def node(*, host: str, port: int, **options: Any) -> redis.Redis:
        plain = redis.Redis(host=host, port=port, **options)
        return ConfirmingClient(plain, confirmation, NodeMark(client.map, (host, port)))

    client.node_class = node
    return client


def _client(url: str, timeout: float, retries: int) -> redis.Redis:
    problem = address_problem(url)
    if problem is not None:
        raise ConfigError(f"state server: {problem}")
    options: dict[str, Any] = {
        "socket_connect_timeout": min(timeout, 1.0),
        "socket_timeout": timeout,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.2), retries) if retries else Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "client_name": "attempt-bridge",
        "max_connections": 200,
    }
    if not is_group(url):
        return redis.Redis.from_url(url, **options)
    group = server_group(url)
    if group.kind == "sentinel":
        return sentinel_client(group, options)
    secured = {"ssl": True, **group.tls_options()} if group.tls else {}
    account = {"username": group.user, "password": group.password}
    return ClusterClient(group.hosts, {**options, **account, **secured}, retries=retries)
