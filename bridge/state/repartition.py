"""The change of the number of partitions, and how far the move of what is remembered has got; in `ab:bridge`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import redis

from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.layout import LAYOUT
from bridge.state.lease import Lease

__all__ = ["DONE", "NEVER", "RUNNING", "STOPPED", "Move", "Repartition"]

NEVER, RUNNING, STOPPED, DONE = "never", "running", "stopped", "done"
_FIELDS = ("partitions", "width", "from_partitions", "epoch", "move", "move_at", "moved", "move_begun", "move_seen")
_LEASE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Move:
    """A change of the number of partitions; times are UNIX seconds."""

    #: Number of partitions over which attempts are spread now, and number of those that may have events.
    partitions: int
    width: int
    #: `never`: the number has not been changed yet.
    state: str = NEVER
    #: While memories move: the number of partitions before, else None.
    before: int | None = None
    #: Where the mover is: partition and bucket.
    partition: int = 0
    bucket: int = 0
    moved: int = 0
    begun: float | None = None
    seen: float | None = None
    #: The epoch of the partitions: each change has its own.
    epoch: int = 0


class Repartition:
    """Begins, stops and follows the change. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, *, configured: int) -> None:
        """`configured`: `bridge.partitions`, used where the state has no number."""
        self._client, self._configured = client, configured
        self._begin = scripts.register(client, __file__, "begin_repartition")
        self._save = scripts.register(client, __file__, "save_repartition")
        self._change = scripts.register(client, __file__, "change_repartition")
        self._end = scripts.register(client, __file__, "end_repartition")

    def read(self) -> Move:
        """The change as it is now."""
        with state_errors():
            values = cast("list[bytes | None]", self._client.hmget(keys.BRIDGE, _FIELDS))
        fields = {name: value.decode() for name, value in zip(_FIELDS, values, strict=True) if value is not None}
        number = int(fields.get("partitions", self._configured))
        partition, _, bucket = fields.get("move_at", "0:0").partition(":")
        return Move(
            partitions=number,
            width=int(fields.get("width", number)),
            state=fields.get("move", NEVER),
            before=int(fields["from_partitions"]) if "from_partitions" in fields else None,
            partition=int(partition),
            bucket=int(bucket),
            moved=int(fields.get("moved", 0)),
            begun=float(fields["move_begun"]) if "move_begun" in fields else None,
            seen=float(fields["move_seen"]) if "move_seen" in fields else None,
            epoch=int(fields.get("epoch", 0)),
        )

    def begin(self, number: int, *, now: float) -> bool:
        """Spread attempts over `number` partitions from now on; False while an earlier change is not done."""
        with state_errors():
            return bool(self._begin(keys=[keys.BRIDGE], args=[number, LAYOUT, self._configured, f"{now:.3f}"]))

    def change(self, state: str, to: str) -> bool:
        """Stop the mover or let it go on; False if it is in another state now."""
        with state_errors():
            return bool(self._change(keys=[keys.BRIDGE], args=[state, to]))

    def lease(self, token: str) -> Lease:
        """The right to move memories."""
        return Lease(self._client, "partitions", token, seconds=_LEASE_SECONDS)

    def save(self, epoch: int, partition: int, bucket: int, moved: int, *, now: float) -> None:
        """Move the position, after everything before it is done; does nothing if that change has ended."""
        with state_errors():
            self._save(keys=[keys.BRIDGE], args=[epoch, f"{partition}:{bucket}", moved, f"{now:.3f}"])

    def end(self, epoch: int, *, now: float) -> bool:
        """Everything remembered is at its home; False if another process has recorded that already."""
        with state_errors():
            return bool(self._end(keys=[keys.BRIDGE], args=[epoch, f"{now:.3f}"]))
