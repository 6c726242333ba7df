"""On a cluster, the key that is written after whatever the replicas of one node are to confirm."""

from __future__ import annotations

from itertools import count, islice

from bridge.state import keys
from bridge.state.cluster.command_keys import slot_of
from bridge.state.cluster.slot_map import Address, SlotMap

__all__ = ["NodeMark"]

#: A node with a single slot is found after 16,384 names on average; one not found by then has no slot.
_MOST = 200_000


class NodeMark:
    """Gives the key for the node at `address`, and chooses another when slots have moved. Called for every write."""

    def __init__(self, slots: SlotMap, address: Address) -> None:
        self._slots, self._address = slots, address
        self._version, self._key = -1, keys.CONFIRMED

    def __call__(self) -> str:
        if self._version != self._slots.version:
            ranges = [(start, end) for start, end, primary in self._slots.ranges() if primary == self._address]
            held = (
                key
                for key in map(keys.confirmed_on_node, islice(count(), _MOST if ranges else 0))
                if any(start <= slot_of(key.encode()) <= end for start, end in ranges)
            )
            # A node without slots refuses any key, as it refused what was written there.
            self._key = next(held, keys.CONFIRMED)
            self._version = self._slots.version
        return self._key
