"""The servers behind a client of the state: one, or the primaries of a cluster; and which of them answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import redis
from redis.exceptions import ClusterDownError

from bridge.state import keys
from bridge.state.cluster.client import ClusterClient
from bridge.state.cluster.command_keys import encoded, slot_of
from bridge.state.cluster.slot_map import Address, SlotMap

__all__ = ["EVERYTHING", "Reach", "node_of", "primaries", "read_reach", "require_whole"]


def primaries(client: redis.Redis) -> list[redis.Redis]:
    """A client of each server that holds a part of the state. Raises the errors of redis-py."""
    return client.primaries() if isinstance(client, ClusterClient) else [client]


def require_whole(client: redis.Redis) -> None:
    """Raise `ClusterDownError` if a server that should have the whole state is a node of a cluster, and the errors of
    redis-py.
    """
    if not isinstance(client, ClusterClient) and client.info("cluster").get("cluster_enabled"):
        raise ClusterDownError(
            "this server is a node of a cluster and may hold a part of the keys. Remedy: write redis+cluster:// (over "
            "TLS rediss+cluster://) and some of its nodes"
        )


def node_of(client: redis.Redis, key: str) -> redis.Redis:
    """A client of the server that holds a key. Raises the errors of redis-py."""
    return client.at(key) if isinstance(client, ClusterClient) else client


@dataclass(frozen=True, slots=True)
class Reach:
    """Which part of the state can be read. Methods raise the errors of redis-py."""

    #: Where keys are; None: on one server, and only reading it shows whether it answers.
    slots: SlotMap | None = None
    #: Primaries of a cluster that do not answer, and why.
    away: Mapping[Address, redis.RedisError] = field(default_factory=dict)

    def address_of(self, key: str) -> Address | None:
        """The primary that holds a key; None for a single server, and for a slot that no server of a cluster has."""
        return None if self.slots is None else self.slots.holder(slot_of(encoded(key)))

    def has(self, key: str) -> bool:
        """Whether the server of a key answers."""
        if self.slots is None:
            return True
        address = self.address_of(key)
        return address is not None and address not in self.away

    def partitions(self, number: int) -> list[int]:
        """Those of `number` partitions whose server answers."""
        return [partition for partition in range(number) if self.has(keys.journal(partition))]

    def sources(self, names: Iterable[str]) -> list[str]:
        """Those of the sources whose server answers: all keys of a source have one slot."""
        return [name for name in names if self.has(keys.paused(name))]


#: As far as is known, all servers answer.
EVERYTHING = Reach()


def read_reach(client: redis.Redis) -> Reach:
    """Ask each primary of a cluster whether it answers; a single server is not asked. Raises the errors of redis-py."""
    if not isinstance(client, ClusterClient):
        return EVERYTHING
    away = _away(client)
    if away:
        # Another server may have replaced it, or a kept connection may have been lost.
        client.map.refresh(client.map.version, suspect=next(iter(away)))
        away = _away(client)
    return Reach(client.map, away)


def _away(client: ClusterClient) -> dict[Address, redis.RedisError]:
    away = {}
    for address in client.map.primaries():
        try:
            client.reach(address).ping()
        except redis.RedisError as error:
            away[address] = error
    return away
