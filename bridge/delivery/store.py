"""The store of deliveries: retries, dead letters, circuit and receipts, with replay, pause and resume.

Sending and scheduling are in `workers/dispatch`; this module serves the commands, the monitoring and the receipts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import cast

import redis

from bridge.delivery.consumers import living_consumers
from bridge.delivery.status import SubscriptionState, read_state
from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["DeadLetter", "Deliveries", "Delivery", "SubscriptionState"]

_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event that is to be retried for one subscription, or whose receipt is awaited. Times are UNIX seconds."""

    #: Event id.
    id: str
    #: Type of the event.
    type: str
    #: Name of its source.
    source: str
    #: Id of its attempt.
    attempt: str
    #: Its journal entry.
    entry: str
    #: Tries made.
    tries: int = 0
    #: Time of the first try; 0 before it.
    first_at: float = 0.0
    #: Time of the last try; 0 before the first.
    last_at: float = 0.0
    #: Error of the first failed try.
    first_error: str = ""
    #: Error of the last failed try.
    error: str = ""
    #: Reason of the last failed try, a fixed word.
    reason: str = ""
    #: Whether the last try succeeded and its receipt is awaited.
    awaiting_receipt: bool = False
    #: Number of replays.
    replays: int = 0
    #: JSON of the event, where the journal may no longer have it (after a replay).
    event: str | None = None

    def to_json(self) -> str:
        """The record as it is stored."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: bytes | str) -> Delivery:
        """The delivery of a stored record. Raises `ValueError` if it is not valid."""
        try:
            members = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(members, dict) or not _TYPES.keys() >= members.keys() >= _REQUIRED:
            raise ValueError("not the members of a delivery")
        wrong = [name for name, value in members.items() if not isinstance(value, _TYPES[name])]
        if wrong:
            raise ValueError(f"wrong type: {', '.join(wrong)}")
        for value in members.values():
            # JSON can hold half a surrogate pair; writing it back would raise UnicodeEncodeError.
            str(value).encode()
        return cls(**members)

    @classmethod
    def for_display(cls, text: bytes | str, event_id: str) -> Delivery:
        """The delivery of a stored record; one that is not valid is shown with its id and the problem."""
        try:
            return cls.from_json(text)
        except ValueError:
            error = "the record of this delivery cannot be read"
            return cls(id=event_id, type="", source="", attempt="", entry="", error=error, reason="unreadable")


_REQUIRED = {"id", "type", "source", "attempt", "entry"}
#: Member of a stored record -> its type.
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys((*_REQUIRED, "first_error", "error", "reason"), str),
    **dict.fromkeys(("tries", "replays"), int),
    **dict.fromkeys(("first_at", "last_at"), (int, float)),
    "awaiting_receipt": bool,
    "event": (str, type(None)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A delivery that was given up."""

    #: Names it for a replay: `<partition>:<stream id>`.
    id: str
    #: The delivery after its last try.
    delivery: Delivery
    #: Why it was given up.
    reason: str
    #: When it was given up, UNIX seconds.
    dead_at: float
    #: JSON of the event; empty if the journal no longer had it.
    event: bytes


class Deliveries:
    """The deliveries of all subscriptions and partitions. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, *, partitions: int = 1) -> None:
        self.client = client
        self.partitions = partitions
        self._replay = scripts.register(client, __file__, "replay")
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
                    yield _dead_letter(partition, entry_id.decode(), fields)
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
        return _dead_letter(int(partition), page[0][0].decode(), page[0][1]) if page else None

    def replay(self, subscription: str, letter: DeadLetter, *, now: float) -> bool:
        """Schedule a dead letter at once, with all its tries and the same event id. False if it was gone already.

        Raises `ValueError` for a letter whose event is missing or not UTF-8.
        """
        if not letter.event:
            raise ValueError("the event is gone. Remedy: backfill the attempt")
        try:
            event = letter.event.decode()
        except UnicodeDecodeError:
            raise ValueError("the event is not UTF-8. Remedy: backfill the attempt") from None
        partition_text, _, entry = letter.id.partition(":")
        partition, old = int(partition_text), letter.delivery
        delivery = replace(old, tries=0, awaiting_receipt=False, replays=old.replays + 1, event=event)
        names = [
            keys.dead(subscription, partition),
            keys.retry(subscription, partition),
            keys.deliveries(subscription, partition),
        ]
        with state_errors():
            moved = self._replay(keys=names, args=[entry, delivery.id, delivery.to_json(), f"{now:.3f}"])
        return bool(moved)

    def record_receipt(self, subscription: str, event_id: str) -> bool:
        """End the delivery: the receiver has processed the event. False if no receipt was awaited."""
        removed = 0
        with state_errors():
            for partition in range(self.partitions):
                pipe = self.client.pipeline(transaction=True)
                pipe.zrem(keys.retry(subscription, partition), event_id)
                pipe.hdel(keys.deliveries(subscription, partition), event_id)
                pipe.hdel(keys.claims(subscription, partition), event_id)
                removed += max(pipe.execute())
            if removed:
                self.client.hincrby(keys.subscription_state(subscription), "receipts", 1)
        return removed > 0

    def pause(self, subscription: str) -> None:
        """Begin no further delivery until `resume`; events wait in the journal. `sending` says what is under way."""
        with state_errors():
            self.client.hset(keys.subscription_state(subscription), "paused", 1)

    def sending(self, subscription: str) -> int:
        """The number of lanes in living dispatch processes that have not seen the pause yet, and may be sending."""
        group, number = keys.group(subscription), 0
        with state_errors():
            seen = cast("set[bytes]", set(self.client.hkeys(keys.pauses(subscription))))
            for partition in range(self.partitions):
                for consumer in living_consumers(self.client, group, partition):
                    number += f"{consumer}|{partition}".encode() not in seen
        return number

    def resume(self, subscription: str) -> None:
        """End a pause, a disabled state (410, days without success) and an open circuit."""
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            ended = ("paused", "disabled", "failures", "open_until", "failing_since")
            pipe.hdel(keys.subscription_state(subscription), *ended)
            pipe.delete(keys.pauses(subscription))
            pipe.execute()

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

    def state(self, subscription: str, *, now: float) -> SubscriptionState:
        """Counters and circuit of a subscription at `now` (UNIX seconds)."""
        with state_errors():
            return read_state(self.client, subscription, partitions=self.partitions, now=now)


def _dead_letter(partition: int, entry_id: str, fields: dict[bytes, bytes]) -> DeadLetter:
    return DeadLetter(
        id=f"{partition}:{entry_id}",
        delivery=Delivery.for_display(fields.get(b"delivery", b""), fields.get(b"id", b"").decode(errors="replace")),
        reason=fields.get(b"reason", b"").decode(errors="replace"),
        dead_at=float(fields.get(b"at", 0)),
        event=fields.get(b"event", b""),
    )
