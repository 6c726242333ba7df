"""The consumer groups on the journal, and which of their consumers belong to a living dispatch process."""

from __future__ import annotations

import redis

from bridge.state import keys
from bridge.state.expiry import exists_for

__all__ = ["group_names", "living_consumers"]


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
    return [name for name in names if exists_for(client, keys.heartbeat(f"dispatch:{name}"))]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
