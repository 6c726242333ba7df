"""The consumer groups on the journal, and which of their consumers belong to a living dispatch process."""

from __future__ import annotations

import redis

from bridge.state import keys
from bridge.state.cluster.client import ClusterClient
from bridge.state.cluster.slot_map import LOST
from bridge.state.expiry import LONGEST_HEARTBEAT, exists_for

__all__ = ["group_names", "is_alive", "living_consumers"]


def group_names(client: redis.Redis, partition: int) -> set[str]:
    """The names of the consumer groups on a journal. Raises the errors of redis-py."""
    journal = keys.journal(partition)
    if not client.exists(journal):
        return set()
    return {_text(row["name"]) for row in client.xinfo_groups(journal)}


def living_consumers(client: redis.Redis, group: str, partition: int) -> list[str]:
    """The consumers of a group whose process has a heartbeat. Raises the errors of redis-py."""
    if group not in group_names(client, partition):
        return []
    names = [_text(row["name"]) for row in client.xinfo_consumers(keys.journal(partition), group)]
    return [name for name in names if is_alive(client, name, partition)]


def is_alive(client: redis.Redis, consumer: str, partition: int, longest: float = LONGEST_HEARTBEAT) -> bool:
    """Whether the process of a consumer has a heartbeat. Raises the errors of redis-py.

    It is stored in the partition, or, by a process of the version before this one, in one place for all partitions.
    On a cluster the server of that place may be away, which counts as no heartbeat there.
    """
    if exists_for(client, keys.alive(partition, consumer), longest):
        return True
    try:
        return exists_for(client, keys.heartbeat(f"dispatch:{consumer}"), longest)
    except LOST:
        if isinstance(client, ClusterClient):
            return False
        raise


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
