"""Has the embedded server rewrite its append-only file, without what was deleted."""

from __future__ import annotations

import redis

__all__ = ["begin_rewrite", "is_rewriting", "last_rewrite_failed"]


def begin_rewrite(client: redis.Redis) -> None:
    """Begin a rewrite in the form of commands, which every further rewrite has until the server starts again.

    In the other form, a copy of its memory, the file would hold deleted entries of streams: their bytes stay in memory
    until their block is empty. A file of commands has no such bytes, nor does the memory of a server that loads it.
    Raises the errors of redis-py.
    """
    client.config_set("aof-use-rdb-preamble", "no")
    client.bgrewriteaof()


def is_rewriting(client: redis.Redis) -> bool:
    """Whether a rewrite is under way or about to begin. Raises the errors of redis-py."""
    facts = client.info("persistence")
    return bool(facts["aof_rewrite_in_progress"] or facts["aof_rewrite_scheduled"])


def last_rewrite_failed(client: redis.Redis) -> bool:
    """Whether the last rewrite failed, such as for a full disk. Raises the errors of redis-py."""
    return bool(client.info("persistence")["aof_last_bgrewrite_status"] != "ok")
