"""What a lane reads: entries that are pending for it, due retries, new entries of the journal. Sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from bridge.config.model import Subscription
from bridge.state import keys, scripts
from workers.dispatch.guarded import Claimed, GuardedSteps
from workers.dispatch.membership import GroupMember, PendingEntry, StreamEntry
from workers.dispatch.schedule import Limits
from workers.dispatch.settlement import Item, Row, poison_row
from workers.transports.contract import Outgoing, Try

__all__ = ["Batch", "DeliveryReader", "Sent"]

#: While events are under way, retries are asked for after this many seconds, or when the next one is due.
_ASK_AGAIN_SECONDS = 0.2
_ANY = 1_000_000
#: Settles rows: (rows, claim of the retries among them, UNIX seconds).
_Settle = Callable[[Sequence[Row], str, float], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read."""

    #: The events; retries have no entry.
    items: Sequence[Item] = ()
    #: The claim under which the retries are held, "" if there are none.
    claim: str = ""
    #: Seconds to wait if there are no items.
    wait: float = 0.0
    #: Whether the one item may have ended processes, so that it must be sent on its own.
    alone: bool = False
    #: Whether such an item waits until nothing is held.
    must_drain: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch after its tries."""

    batch: Batch
    #: The events that were sent, and those that were not, as rows.
    prepared: Sequence[tuple[Item, Outgoing]]
    rows: Sequence[Row]
    #: A try for each of `prepared`.
    tries: Sequence[Try]


class DeliveryReader:
    """Reads for one consumer of a subscription in one partition. Not thread-safe. Methods raise errors of redis-py."""

    def __init__(
        self,
        subscription: Subscription,
        partition: int,
        *,
        member: GroupMember,
        state: redis.Redis,
        limits: Limits,
        guarded: GuardedSteps,
        settle: _Settle,
        suspect_after: int = 1,
    ) -> None:
        """`suspect_after`: claims that were never settled after which a retry is read on its own."""
        name = subscription.name
        self._subscription, self._limits, self._guarded = subscription, limits, guarded
        self._member, self._settle, self._suspect_after = member, settle, suspect_after
        self._keys = [
            keys.retry(name, partition),
            keys.deliveries(name, partition),
            keys.journal(partition),
            keys.claims(name, partition),
        ]
        self._claim_due = scripts.register(state, __file__, "claim_due")
        #: Whether entries may be pending for this consumer: they come before new ones.
        self.may_have_pending = True
        #: Whether the last step failed without ending the process, so that no pending entry is to blame.
        self._survived_failure = False
        #: When retries were asked for, and when the next one is due; others may have scheduled one since.
        self._retries_asked, self._retries_due = 0.0, 0.0
        #: Where only one event is sent, new events and retries take turns.
        self._retry_first = False

    @property
    def lease(self) -> float:
        """Seconds until another process may claim a retry that this one has claimed."""
        receipts = self._subscription.receipts
        return max(self._limits.lease, receipts.within) if receipts.required else self._limits.lease

    def recover(self) -> None:
        """A read whose reply was lost may have left entries pending."""
        self.may_have_pending = self._survived_failure = True

    def next_batch(
        self, now: float, limit: int, block: float, *, held: Collection[str] = (), most_retries: int = _ANY
    ) -> Batch:
        """At most `limit` items; waits `block` seconds if there are none. `held`: entries that the caller has.
        `most_retries`: at most this many of them, and at most half, are retries.
        """
        if self.may_have_pending:
            batch = self._pending(now, limit, held)
            if batch.items or batch.must_drain:
                return batch
        if limit == 1 and not self._retry_first:
            items = self._read_items(self._member.read(1, 0.0), now)
            if items:
                self._retry_first = True
                return Batch(items)
        retries, next_due = Batch(), self._retries_due
        if most_retries <= 0:
            next_due = float("inf")  # they are not what the caller waits for
        elif not (held and self._retries_asked <= now < min(next_due, self._retries_asked + _ASK_AGAIN_SECONDS)):
            retries, next_due = self._due_retries(now, min(max(1, limit // 2), most_retries))
            self._retries_asked, self._retries_due = now, next_due
        if limit == 1:
            self._retry_first = not retries.items
        items = list(retries.items)
        if len(items) < limit and not retries.alone:
            until_due = 0.0 if items else min(block, max(0.0, next_due - now))
            items += self._read_items(self._member.read(limit - len(items), until_due), now)
        return Batch(items, retries.claim, 0.0 if block else min(1.0, max(0.0, next_due - now)), retries.alone)

    def due_retries(self, now: float, limit: int) -> tuple[Batch, float]:
        """(at most `limit` due retries, UNIX seconds at which the next one is due)."""
        return self._due_retries(now, limit)

    def _pending(self, now: float, limit: int, held: Collection[str]) -> Batch:
        """Items that were read and never settled. An entry with which several processes ended is sent on its own."""
        pending = [each for each in self._member.pending(limit + len(held)) if each.entry.decode() not in held]
        if pending and self._survived_failure:
            self._member.keep([each.entry for each in pending])
            pending = [PendingEntry(each.entry, 0) for each in pending]
        if not pending:
            self.may_have_pending = self._survived_failure = False
            return Batch()
        suspect = next((each for each in pending if each.times > 1), None)
        chosen = [each for each in pending if each.times <= 1][:limit] or pending[:1]
        alone = suspect is not None and chosen == [suspect]
        if alone and held:
            # Whatever is held would be suspected too if the process ended now.
            return Batch(must_drain=True)
        items = self._read_items(self._member.take(chosen), now)
        if suspect is not None and alone and suspect.times >= self._limits.poison_after:
            self._settle([poison_row(item, suspect.times, now) for item in items], "", now)
            return self._pending(now, limit, held)
        # Entries that were deleted in the meantime are no longer pending: read again.
        return Batch(items, alone=alone) if items else self._pending(now, limit, held)

    def _due_retries(self, now: float, limit: int) -> tuple[Batch, float]:
        """(due retries, time of the next one)."""
        next_due, claim, claimed = cast(
            "tuple[bytes, bytes, list[Claimed]]",
            self._claim_due(keys=self._keys, args=[f"{now:.3f}", self.lease, limit, self._suspect_after]),
        )
        items, rows = self._guarded.read_retries(claimed, self._limits, now)
        self._settle(rows, claim.decode(), now)
        alone = len(items) == 1 and claimed[0][3] > self._suspect_after
        return Batch(items, claim.decode(), alone=alone), float(next_due or "inf")

    def _read_items(self, entries: Sequence[StreamEntry], now: float) -> list[Item]:
        items, rows = self._guarded.read_entries(entries, now)
        self._settle(rows, "", now)
        return items
