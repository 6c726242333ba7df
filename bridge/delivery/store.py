"""The store of deliveries: retries, dead letters, circuit and receipts; with discard, retry, cancel, pause and resume.

Sending and scheduling are in `workers/dispatch`; this module serves the commands, the API, the monitoring and the
receipts. What has ended is in `history.py`, failure groups are in `group_store.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import redis

from bridge.delivery.consumers import living_consumers
from bridge.delivery.journal_groups import read_groups
from bridge.delivery.outcomes import outcome_keys, register
from bridge.delivery.record import DeadLetter, Delivery, dead_letter
from bridge.delivery.settled import CANCELLED, CONFIRMED, pack
from bridge.delivery.status import SubscriptionState, read_state, read_states
from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = [
    "AWAITING_RECEIPT",
    "BEING_SENT",
    "DONE",
    "EXPIRED",
    "UNKNOWN",
    "DeadLetter",
    "Deliveries",
    "Delivery",
    "SubscriptionState",
]

_PAGE = 200
#: What `resume` ends: a pause, a disabled state, an open circuit, and the stretch of failures that leads to it.
_STOPS = ("paused", "disabled", "failures", "open_until", "failing_since", "unsuccessful_since", "unsuccessful")
#: Counter of the dead letters that were deleted for their age.
EXPIRED = "expired"
#: What `retry_one` and `cancel` return.
DONE, UNKNOWN, BEING_SENT, AWAITING_RECEIPT = "done", "unknown", "being sent", "awaiting receipt"
_ANSWERS = {1: DONE, 0: UNKNOWN, -1: BEING_SENT}


class Deliveries:
    """The deliveries of all subscriptions and partitions. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, *, partitions: int = 1) -> None:
        self.client = client
        self.partitions = partitions
        self._end = register(client, __file__, "end_delivery")
        self._discard = register(client, __file__, "discard")
        self._retry_now = scripts.register(client, __file__, "retry_now")

    def dead_letters(self, subscription: str, *, limit: int | None = 100) -> Iterator[DeadLetter]:
        """The dead letters, newest first within each partition; `limit` None for all."""
        left = limit
        for partition in range(self.partitions):
            before = "+"
            while left is None or left > 0:
                count = _PAGE if left is None else min(_PAGE, left)
                with state_errors():
                    page = cast(
                        "list[tuple[bytes, dict[bytes, bytes]]]",
                        self.client.xrevrange(keys.dead(subscription, partition), max=before, count=count),
                    )
                for entry_id, fields in page:
                    yield dead_letter(partition, entry_id.decode(), fields)
                if left is not None:
                    left -= len(page)
                if len(page) < count:
                    break
                before = f"({page[-1][0].decode()}"

    def dead_letter(self, subscription: str, letter_id: str) -> DeadLetter | None:
        """The dead letter with this `id`, or None."""
        partition, _, entry = letter_id.partition(":")
        if not partition.isdigit() or not entry:
            return None
        with state_errors():
            try:
                answer = self.client.xrange(keys.dead(subscription, int(partition)), entry, entry)
            except redis.ResponseError:
                return None  # not a valid stream id, so there is no such letter
        page = cast("list[tuple[bytes, dict[bytes, bytes]]]", answer)
        return dead_letter(int(partition), page[0][0].decode(), page[0][1]) if page else None

    def discard(
        self, subscription: str, letter_ids: Sequence[str], *, now: float, counted_as: str = "discarded"
    ) -> int:
        """Delete dead letters permanently; returns how many still existed. `counted_as`: the counter that is raised."""
        entries: dict[int, list[str]] = {}
        for letter_id in letter_ids:
            partition, _, entry = letter_id.partition(":")
            entries.setdefault(int(partition), []).append(entry)
        deleted = 0
        for number, chosen in entries.items():
            with state_errors():
                names = outcome_keys(subscription, number)
                deleted += cast("int", self._discard(keys=names, args=[f"{now:.3f}", counted_as, *chosen]))
        return deleted

    def under_way(self, subscription: str, event_id: str) -> tuple[int, Delivery, float] | None:
        """(partition, delivery, due time of its next try) of one that waits for a retry or a receipt, or None."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for partition in range(self.partitions):
                pipe.hget(keys.deliveries(subscription, partition), event_id)
                pipe.zscore(keys.retry(subscription, partition), event_id)
            answers = pipe.execute()
        for partition, (record, due) in enumerate(zip(answers[::2], answers[1::2], strict=True)):
            if record is not None:
                return partition, Delivery.for_display(record, event_id), 0.0 if due is None else float(due)
        return None

    def retry_one(self, subscription: str, event_id: str, *, now: float) -> str:
        """Make the next try of a delivery due now: `done`, `unknown`, `being sent` or `awaiting receipt`."""
        current = self.under_way(subscription, event_id)
        if current is None:
            return UNKNOWN
        partition, delivery, due = current
        if delivery.awaiting_receipt:
            return AWAITING_RECEIPT
        names = [of(subscription, partition) for of in (keys.retry, keys.deliveries, keys.claims)]
        with state_errors():
            moved = self._retry_now(keys=names, args=[f"{now:.3f}", event_id])
            being_sent = not moved and self.client.hexists(names[2], event_id)
        # One that was due already counts as moved.
        return DONE if moved or (due <= now and not being_sent) else BEING_SENT

    def cancel(self, subscription: str, event_id: str, *, now: float) -> str:
        """Give a delivery up without a dead letter: `done`, `unknown` or `being sent`."""
        return _ANSWERS[self._end_one(subscription, event_id, CANCELLED, "cancelled", now)]

    def record_receipt(self, subscription: str, event_id: str, *, now: float) -> bool:
        """End the delivery: the receiver has processed the event. False if no receipt was awaited."""
        # The receipt of a fast receiver may come while its event counts as being sent.
        return self._end_one(subscription, event_id, CONFIRMED, "receipts", now, while_sent=True) > 0

    def _end_one(
        self, subscription: str, event_id: str, outcome: str, counter: str, now: float, *, while_sent: bool = False
    ) -> int:
        """What end_delivery.lua returns."""
        current = self.under_way(subscription, event_id)
        if current is None:
            return 0
        partition, delivery, _ = current
        record = pack(
            outcome,
            event_id=event_id,
            event_type=delivery.type,
            source=delivery.source,
            attempt=delivery.attempt,
            tries=delivery.tries,
        )
        with state_errors():
            args: list[str | bytes | int] = [event_id, record, counter, f"{now:.3f}", int(not while_sent)]
            return cast("int", self._end(keys=outcome_keys(subscription, partition), args=args))

    def pause(self, subscription: str) -> bool:
        """Begin no further delivery until `resume`; events wait in the journal. `sending` counts what is under way.

        False if it was paused already.
        """
        with state_errors():
            return bool(self.client.hset(keys.subscription_state(subscription), "paused", "1"))

    def sending(self, subscription: str) -> int:
        """The number of lanes in living dispatch processes that have not seen the pause yet, and may be sending."""
        group, number = keys.group(subscription), 0
        with state_errors():
            seen = cast("set[bytes]", set(self.client.hkeys(keys.pauses(subscription))))
            for partition in range(self.partitions):
                for consumer in living_consumers(self.client, group, partition):
                    number += f"{consumer}|{partition}".encode() not in seen
        return number

    def resume(self, subscription: str) -> bool:
        """End a pause, a disabled state (410, days without success) and an open circuit; False if there was none."""
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hdel(keys.subscription_state(subscription), *_STOPS)
            pipe.delete(keys.pauses(subscription))
            return bool(pipe.execute()[0])

    def retry_now(self, subscription: str, *, now: float) -> int:
        """Make all waiting retries due at once, in time proportional to their number; returns how many.

        Not those that are being sent at the moment, and not the receipts that are awaited.
        """
        moved = 0
        with state_errors():
            for partition in range(self.partitions):
                names = [of(subscription, partition) for of in (keys.retry, keys.deliveries, keys.claims)]
                page: list[bytes] = []
                # A scan: it neither sorts nor skips, and new due times do not disturb it.
                for event_id, _ in self.client.zscan_iter(names[0], count=_PAGE):
                    page.append(event_id)
                    if len(page) == _PAGE:
                        moved += int(self._retry_now(keys=names, args=[f"{now:.3f}", *page]))
                        page.clear()
                if page:
                    moved += int(self._retry_now(keys=names, args=[f"{now:.3f}", *page]))
        return moved

    def expired(self, subscriptions: Sequence[str]) -> int:
        """The number of dead letters that were ever deleted for their age, in one round trip."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for name in subscriptions:
                for partition in range(self.partitions):
                    pipe.hget(keys.subscription_state(name, partition), EXPIRED)
            return sum(int(number or 0) for number in pipe.execute())

    def state(self, subscription: str, *, now: float) -> SubscriptionState:
        """Counters and circuit of a subscription at `now` (UNIX seconds)."""
        with state_errors():
            return read_state(self.client, subscription, partitions=self.partitions, now=now)

    def states(self, subscriptions: Sequence[str], *, now: float) -> dict[str, SubscriptionState]:
        """The same for several, in as many round trips as for one."""
        with state_errors():
            return read_states(self.client, subscriptions, read_groups(self.client, range(self.partitions)), now=now)
