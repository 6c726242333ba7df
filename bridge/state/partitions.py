"""In which partition the memory and the events of an attempt are, and under which field it is remembered.

Since layout 3 the digest of an attempt tells both, so that whoever walks through the memory knows where each field
belongs. In a state of layout 2 the partition is a checksum of the name, and stays so.
"""

from __future__ import annotations

from hashlib import blake2b
from zlib import crc32

import redis

from bridge.state.layout import LAYOUT, stored_layout

__all__ = ["Partitions", "attempt_field", "partition_of_field"]

_BY_DIGEST = 3
#: Bytes 13-16 of a field say where it belongs; publish_once.lua finds the bucket by the first four.
_HOME = 12


def attempt_field(source: str, attempt_id: str) -> bytes:
    """The 16 bytes under which an attempt is remembered; the id itself is not stored."""
    return blake2b(f"{source}\x00{attempt_id}".encode(), digest_size=16).digest()


def partition_of_field(field: bytes, partitions: int) -> int:
    """The partition of a field in a state of layout 3."""
    return int.from_bytes(field[_HOME:], "little") % partitions


class Partitions:
    """Finds the partition of each attempt. It asks the state for its layout once, and only where that matters."""

    def __init__(self, client: redis.Redis, number: int) -> None:
        self.number = number
        self._client = client
        self._layout: int | None = None

    def home(self, source: str, attempt_id: str, notice: str | None = None) -> tuple[int, bytes]:
        """Partition and field of an attempt, or of a notice about it, which is in the same partition.

        `notice`: what tells it from all others of its source. Raises `StateUnavailable`.
        """
        field = attempt_field(source, attempt_id)
        if notice is None and self.number == 1:
            return 0, field
        own = field if notice is None else attempt_field(source, notice)
        if self._by_digest():
            return partition_of_field(field, self.number), own[:_HOME] + field[_HOME:]
        return crc32(f"{source}/{attempt_id}".encode()) % self.number, own

    def _by_digest(self) -> bool:
        if self._layout is None:
            self._layout = stored_layout(self._client)
        # A state without a bridge will get ours.
        return (self._layout or LAYOUT) >= _BY_DIGEST
