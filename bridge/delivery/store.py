"""What the bridge keeps about deliveries: those under way, dead letters, counters, the circuit, receipts; replay.

Sending and scheduling are in `workers/`; this module is for whoever looks at it or acts on it by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import cast

import redis

from bridge.delivery.status import SubscriptionState, read_state
from bridge.journal import StoredEvent
from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["DeadLetter", "Deliveries", "Delivery", "SubscriptionState"]

_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one subscription, after a try that failed or while its receipt is awaited.

    `tries` made so far; times in UNIX seconds, `due` is the next try. `entry`: its journal entry. `event`: its JSON,
    only where the journal may have forgotten it (after a replay).
    """

    id: str
    type: str
    source: str
    attempt: str
    entry: str
    tries: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    first_error: str = ""
    error: str = ""
    reason: str = ""
    awaiting_receipt: bool = False
    replays: int = 0
    event: str | None = None
    due: float | None = None
    partition: int = 0

    def to_json(self) -> str:
        """As it stands in the hash; `due` is the score of the sorted set."""
        members = asdict(self)
        del members["due"], members["partition"]
        return json.dumps(members, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: bytes | str, *, partition: int = 0, due: float | None = None) -> Delivery:
        """Raises `ValueError` for a text that is no such record."""
        try:
            members = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(members, dict) or not _KINDS.keys() >= members.keys() >= _NEEDED:
            raise ValueError("not the members of a delivery")
        wrong = [name for name, value in members.items() if not isinstance(value, _KINDS[name])]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} of another kind")
        for value in members.values():
            # Half a surrogate pair passes through JSON but not into the state again: UnicodeEncodeError.
            str(value).encode()
        return cls(**members, partition=partition, due=due)

    @classmethod
    def for_display(cls, text: bytes | str, event_id: str, *, partition: int = 0, due: float | None = None) -> Delivery:
        """For whoever only looks: a record that cannot be read stands there with its id and what is wrong."""
        try:
            return cls.from_json(text, partition=partition, due=due)
        except ValueError:
            error = "the record of this delivery cannot be read"
            return cls(
                id=event_id,
                type="",
                source="",
                attempt="",
                entry="",
                error=error,
                reason="unreadable",
                partition=partition,
                due=due,
            )


_NEEDED = {"id", "type", "source", "attempt", "entry"}
#: The members of a stored record and what they may be.
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys((*_NEEDED, "first_error", "error", "reason"), str),
    **dict.fromkeys(("tries", "replays"), int),
    **dict.fromkeys(("first_at", "last_at"), (int, float)),
    "awaiting_receipt": bool,
    "event": (str, type(None)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A delivery that was given up. `id` names it for replay; `event` is empty where the journal had forgotten it."""

    id: str
    delivery: Delivery
    reason: str
    dead_at: float
    event: bytes


class Deliveries:
    """Over all partitions. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, *, partitions: int = 1) -> None:
        self.client = client
        self.partitions = partitions
        self._replay = scripts.register(client, __file__, "replay")

    def under_way(self, subscription: str, *, limit: int = 100) -> list[Delivery]:
        """Deliveries that wait for their next try or for a receipt, soonest first."""
        found: list[Delivery] = []
        with state_errors():
            for partition in range(self.partitions):
                waiting = cast(
                    "list[tuple[bytes, float]]",
                    self.client.zrange(keys.retry(subscription, partition), 0, limit - 1, withscores=True),
                )
                if waiting:
                    name = keys.deliveries(subscription, partition)
                    records = cast("list[bytes | None]", self.client.hmget(name, [one[0] for one in waiting]))
                    found += [
                        Delivery.for_display(record, event_id.decode(errors="replace"), partition=partition, due=due)
                        for record, (event_id, due) in zip(records, waiting, strict=True)
                        if record is not None
                    ]
        return sorted(found, key=lambda delivery: delivery.due or 0.0)[:limit]

    def dead_letters(self, subscription: str, *, limit: int | None = 100) -> Iterator[DeadLetter]:
        """Newest first within each partition; `limit` None: all."""
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
        """One dead letter by its `id`, or None."""
        partition, _, entry = letter_id.partition(":")
        if not partition.isdigit() or not entry:
            return None
        with state_errors():
            try:
                found = self.client.xrange(keys.dead(subscription, int(partition)), entry, entry)
            except redis.ResponseError:
                return None  # not of the form of a stream id, so nothing has this name
        page = cast("list[tuple[bytes, dict[bytes, bytes]]]", found)
        return _dead_letter(int(partition), page[0][0].decode(), page[0][1]) if page else None

    def replay(self, subscription: str, letter: DeadLetter, *, now: float) -> bool:
        """Send a dead letter again, now and with all its tries, under the same event id. False: it was gone already.

        Raises `ValueError` for a letter without its event: there is nothing to send.
        """
        if letter.event and not _is_text(letter.event):
            raise ValueError(f"dead letter {letter.id} has an event that is not UTF-8; backfill the attempt instead")
        if not letter.event:
            raise ValueError(f"dead letter {letter.id} has no event any more; backfill the attempt instead")
        partition, _, entry = letter.id.partition(":")
        delivery = replace(
            letter.delivery,
            tries=0,
            awaiting_receipt=False,
            replays=letter.delivery.replays + 1,
            event=letter.event.decode(),
        )
        return self._schedule(subscription, int(partition), entry, delivery, now)

    def replay_all(self, subscription: str, *, now: float) -> int:
        """Replay every dead letter that is there now and still has its event; how many were moved."""
        letters = list(self.dead_letters(subscription, limit=None))
        return sum(self.replay(subscription, letter, now=now) for letter in letters if _is_text(letter.event))

    def send_again(self, subscription: str, event: StoredEvent, *, due: float) -> None:
        """Schedule an event of the journal for `due` (UNIX seconds), whether or not it was delivered before."""
        delivery = Delivery(
            id=event.id, type=event.type, source=event.source, attempt=event.attempt, entry=event.entry_id, replays=1
        )
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hset(keys.deliveries(subscription, event.partition), delivery.id, delivery.to_json())
            pipe.zadd(keys.retry(subscription, event.partition), {delivery.id: due})
            pipe.execute()

    def receipt(self, subscription: str, event_id: str) -> bool:
        """The receiver has processed the event: do not send it again. False: nothing was awaited."""
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
        """Send nothing more until `resume`; events wait in the journal."""
        with state_errors():
            self.client.hset(keys.subscription_state(subscription), "paused", 1)

    def resume(self, subscription: str) -> None:
        """End a pause, a disabling (410, days without success) and an open circuit."""
        with state_errors():
            self.client.hdel(
                keys.subscription_state(subscription), "paused", "disabled", "failures", "open_until", "failing_since"
            )

    def erase(self, subscription: str, source: str, attempt_id: str) -> int:
        """Remove what is kept of one attempt from deliveries and dead letters; how many pieces went."""
        gone = 0
        partition = keys.partition_of(source, attempt_id, self.partitions)
        name = keys.deliveries(subscription, partition)
        with state_errors():
            for event_id, text in self.client.hscan_iter(name):
                delivery = Delivery.for_display(text, "")
                if (delivery.source, delivery.attempt) == (source, attempt_id):
                    self.client.zrem(keys.retry(subscription, partition), event_id)
                    gone += self.client.hdel(name, event_id)
        for letter in list(self.dead_letters(subscription, limit=None)):
            if (letter.delivery.source, letter.delivery.attempt) == (source, attempt_id):
                home, _, entry = letter.id.partition(":")
                with state_errors():
                    gone += self.client.xdel(keys.dead(subscription, int(home)), entry)
        return gone

    def state(self, subscription: str, *, now: float) -> SubscriptionState:
        """Counters and circuit of a subscription at `now` (UNIX seconds)."""
        with state_errors():
            return read_state(self.client, subscription, partitions=self.partitions, now=now)

    def _schedule(self, subscription: str, partition: int, entry: str, delivery: Delivery, now: float) -> bool:
        names = [
            keys.dead(subscription, partition),
            keys.retry(subscription, partition),
            keys.deliveries(subscription, partition),
        ]
        with state_errors():
            moved = self._replay(keys=names, args=[entry, delivery.id, delivery.to_json(), f"{now:.3f}"])
        return bool(moved)


def _is_text(event: bytes) -> bool:
    try:
        return bool(event.decode())
    except UnicodeDecodeError:
        return False


def _dead_letter(partition: int, entry_id: str, fields: dict[bytes, bytes]) -> DeadLetter:
    return DeadLetter(
        id=f"{partition}:{entry_id}",
        delivery=Delivery.for_display(
            fields.get(b"delivery", b""), fields.get(b"id", b"").decode(errors="replace"), partition=partition
        ),
        reason=fields.get(b"reason", b"").decode(errors="replace"),
        dead_at=float(fields.get(b"at", 0)),
        event=fields.get(b"event", b""),
    )
