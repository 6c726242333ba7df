"""Over how many partitions attempts are spread: where the memory and the events of each are, and under which field.

Since layout 3 the digest of an attempt determines both, so that a walk through the memory shows where each field
belongs. In a state of layout 2 the partition is a checksum of the name, until it is repartitioned.

`ab:bridge` has the current values: `partitions`, and, while memories move, `from_partitions` and `from_layout`. Each
change raises `epoch`, which the memory of each partition has too.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import cast
from zlib import crc32

import redis

from bridge.errors import StateUnavailable
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.layout import LAYOUT

__all__ = ["Home", "Partitions", "Spread", "attempt_field", "partition_of_field", "read_spread"]

_BY_DIGEST = 3
#: Bytes 13-16 of a field determine where it belongs; buckets.lua finds the bucket by the first four.
_HOME = 12
_FIELDS = ("name", "layout", "partitions", "epoch", "from_partitions", "from_layout", "old_notices")

#: Partition and field.
Home = tuple[int, bytes]


def attempt_field(source: str, attempt_id: str) -> bytes:
    """The 16 bytes under which an attempt is remembered; the id itself is not stored."""
    return blake2b(f"{source}\x00{attempt_id}".encode(), digest_size=16).digest()


def partition_of_field(field: bytes, partitions: int) -> int:
    """The partition of a field since layout 3."""
    return int.from_bytes(field[_HOME:], "little") % partitions


@dataclass(frozen=True, slots=True)
class Spread:
    """How attempts are spread. Pure."""

    partitions: int
    layout: int = LAYOUT
    epoch: int = 0
    #: While memories move: how they were spread before.
    before: Spread | None = None
    #: Whether notices may be remembered as in layout 2, under fields that do not show which attempt they belong to.
    old_notices: bool = False

    def home(self, source: str, attempt_id: str, notice: str | None = None) -> Home:
        """The home of an attempt, or of a notice about it, which is in the same partition.

        `notice`: what distinguishes it from all others of its source.
        """
        field = attempt_field(source, attempt_id)
        own = field if notice is None else attempt_field(source, notice)
        if self.layout >= _BY_DIGEST:
            return partition_of_field(field, self.partitions), own[:_HOME] + field[_HOME:]
        return crc32(f"{source}/{attempt_id}".encode()) % self.partitions, own

    def earlier(self, source: str, attempt_id: str, notice: str | None = None) -> list[Home]:
        """Where it may still be remembered from before; read its home after these."""
        if self.before is None and not (self.old_notices and notice is not None):
            return []
        homes = [] if self.before is None else [self.before.home(source, attempt_id, notice)]
        if self.old_notices and notice is not None:
            # The mover cannot know which attempt this one belongs to, and moves it as if it were an attempt's.
            field = attempt_field(source, notice)
            homes += [(partition_of_field(field, each), field) for each in self._numbers()]
        home = self.home(source, attempt_id, notice)
        return [each for each in dict.fromkeys(homes) if each != home]

    def _numbers(self) -> list[int]:
        earlier = [self.before.partitions] if self.before is not None and self.before.layout >= _BY_DIGEST else []
        return [*earlier, self.partitions]


def read_spread(client: redis.Redis, *, configured: int) -> Spread | None:
    """How the state spreads attempts; None if it holds no bridge yet. Raises `StateUnavailable`.

    `configured`: the number in bridge.yaml, used where the state has none.
    """
    with state_errors():
        values = cast("list[bytes | None]", client.hmget(keys.BRIDGE, _FIELDS))
    name, layout, partitions, epoch, number, earlier, notices = values
    if name is None and layout is None:
        return None
    return Spread(
        partitions=int(partitions or configured),
        layout=int(layout or 1),
        epoch=int(epoch or 0),
        before=None if number is None else Spread(int(number), int(earlier or LAYOUT)),
        old_notices=bool(notices),
    )


class Partitions:
    """What `read_spread` has found, remembered until a later epoch is seen. Any thread may use it."""

    def __init__(self, client: redis.Redis, served: int) -> None:
        """`served`: partitions that the processes serve, `bridge.partitions`."""
        self.served = served
        self._client = client
        self._spread: Spread | None = None

    def spread(self) -> Spread:
        """How attempts are spread. Raises `StateUnavailable`."""
        # Another thread may call `reload` meanwhile.
        spread = self._spread
        if spread is None:
            spread = self._spread = read_spread(self._client, configured=self.served)
        if spread is not None and spread.partitions > self.served:
            raise StateUnavailable(
                f"attempts are spread over {spread.partitions} partitions, and this process serves {self.served}. Set "
                f"bridge.partitions: {spread.partitions} and start it again"
            )
        # A state without a bridge will get our layout.
        return spread or Spread(self.served)

    def reload(self) -> None:
        """Read it again at the next call, because something has moved."""
        self._spread = None

    def with_events(self, source: str, attempt_id: str) -> list[int]:
        """The partitions that may have events of an attempt, its home first. Raises `StateUnavailable`."""
        spread = self.spread()
        home, _ = spread.home(source, attempt_id)
        # Events stay where they were published.
        return [home, *(number for number in range(self.served) if number != home)] if spread.epoch else [home]
