"""Whether a data directory was used: a file beside the append-only file, which may be lost or emptied.

An empty server in a used directory has forgotten every published attempt and would publish all of them again.
"""

from __future__ import annotations

from pathlib import Path

import redis

from bridge.errors import BridgeError
from bridge.state import keys
from bridge.state.data_directory import write_private

__all__ = ["forget_use", "lost_data", "record_use", "was_used"]

_NAME = "server.used"


def was_used(data_dir: Path) -> bool:
    return (data_dir / _NAME).exists()


def record_use(data_dir: Path, client: redis.Redis) -> None:
    """Mark the directory if its server holds a bridge. Raises `redis.RedisError`, `OSError`."""
    if not was_used(data_dir) and client.exists(keys.BRIDGE):
        write_private(data_dir / _NAME, "A bridge has stored its data in this directory.\n")


def forget_use(data_dir: Path) -> None:
    (data_dir / _NAME).unlink(missing_ok=True)


def lost_data(data_dir: Path) -> BridgeError:
    return BridgeError(
        f"{data_dir / 'appendonlydir'}: empty or missing, but this bridge has stored data. Remedy: restore it from a "
        "backup, or give `up --accept-empty`: everything that is polled again is then published again",
        reason="data_lost",
    )
