"""The servers behind a client of the state: one, or the primaries of a cluster."""

from __future__ import annotations

import redis

from bridge.state.cluster.client import ClusterClient

__all__ = ["node_of", "primaries"]


def primaries(client: redis.Redis) -> list[redis.Redis]:
    """A client of each server that holds a part of the state. Raises the errors of redis-py."""
    return client.primaries() if isinstance(client, ClusterClient) else [client]


def node_of(client: redis.Redis, key: str) -> redis.Redis:
    """A client of the server that holds a key. Raises the errors of redis-py."""
    return client.at(key) if isinstance(client, ClusterClient) else client
