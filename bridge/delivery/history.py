"""Reads what is stored about single deliveries: tries under way, dead letters by event, deliveries that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import redis

from bridge.delivery.outcomes import outcome_keys, register
from bridge.delivery.record import DeadLetter, dead_letter
from bridge.delivery.settled import Settled, index_key, read_settled
from bridge.delivery.tries import LoggedTry, read_tries
from bridge.journal.entries import StreamItems
from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["History"]

#: Classes of the buckets of the index, see outcomes.lua.
_CLASSES = 16
#: Bytes of the failure group in front of the stored tries.
_GROUP = 12
_NO_GROUP = "-" * _GROUP
_PAGE = 200
#: Subscriptions that one call of the script looks up: more would make other commands wait.
_TOGETHER = 50


class History:
    """The history of all subscriptions and partitions. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, *, partitions: int = 1) -> None:
        self.client = client
        self.partitions = partitions
        self._trim = register(client, __file__, "trim_settled")
        self._owners = scripts.register(client, __file__, "owners", read_only=True)

    def tries(self, subscription: str, partition: int, event_id: str) -> tuple[str, tuple[LoggedTry, ...]]:
        """(fingerprint of the failure group or "", tries) of a delivery under way."""
        with state_errors():
            stored = cast("bytes | None", self.client.hget(keys.tries(subscription, partition), event_id))
        group = (stored or b"")[:_GROUP].decode(errors="replace")
        return "" if group == _NO_GROUP else group, read_tries((stored or b"")[_GROUP:])

    def groups_of(self, subscription: str, partition: int, event_ids: list[str]) -> dict[str, str]:
        """Event id -> fingerprint, for the deliveries under way that fail."""
        if not event_ids:
            return {}
        with state_errors():
            stored = cast("list[bytes | None]", self.client.hmget(keys.tries(subscription, partition), event_ids))
        groups = {name: (value or b"")[:_GROUP].decode() for name, value in zip(event_ids, stored, strict=True)}
        return {name: group for name, group in groups.items() if group not in ("", _NO_GROUP)}

    def owners(self, subscriptions: Sequence[str], event_id: str, *, partition: int | None = None) -> list[str]:
        """Those of the subscriptions that may have a delivery of the event, in one round trip.

        `partition`: that of the event, if it is known.
        """
        short = index_key(event_id)
        args: list[str | bytes | int] = [event_id, short, _number(short), _CLASSES, *_letters_of(event_id)]
        groups = [subscriptions[at : at + _TOGETHER] for at in range(0, len(subscriptions), _TOGETHER)]
        asked = [
            (names, number)
            for names in groups
            for number in (range(self.partitions) if partition is None else (partition,))
        ]
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for names, number in asked:
                self._owners(keys=_owner_keys(names, number), args=args, client=pipe)
            answers = pipe.execute()
        owners = {names[place - 1] for (names, _), places in zip(asked, answers, strict=True) for place in places}
        return [name for name in subscriptions if name in owners]

    def settled(self, subscription: str, event_id: str) -> Settled | None:
        """The last ended delivery of an event, without dead letters; None if there is none or it is too old."""
        ended: list[Settled] = []
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for partition in range(self.partitions):
                self._look_up(pipe, subscription, partition, event_id)
            places = [(at // _CLASSES, entry) for at, entry in enumerate(pipe.execute()) if entry is not None]
            for partition, entry in places:
                stream = keys.settled(subscription, partition)
                items = cast("StreamItems", self.client.xrange(stream, entry, entry))
                ended += [each for each in (read_settled(partition, *item) for item in items) if each is not None]
        return max((each for each in ended if each.id == event_id), key=lambda each: each.at, default=None)

    def dead_letter(self, subscription: str, event_id: str) -> DeadLetter | None:
        """The last dead letter of an event, or None."""
        prefix = f"e{event_id}|"
        letters: list[DeadLetter] = []
        with state_errors():
            for partition in range(self.partitions):
                name = keys.letter_index(subscription, partition)
                members = cast("list[bytes]", self.client.zrangebylex(name, *_letters_of(event_id)))
                for member in members[-1:]:
                    entry = member.decode().removeprefix(prefix)
                    items = cast("StreamItems", self.client.xrange(keys.dead(subscription, partition), entry, entry))
                    letters += [dead_letter(partition, each.decode(), fields) for each, fields in items]
        return max(letters, key=lambda letter: letter.dead_at, default=None)

    @staticmethod
    def _look_up(pipe: redis.client.Pipeline, subscription: str, partition: int, event_id: str) -> None:
        """Ask every size of the index for the place of an event."""
        short, stream = index_key(event_id), keys.settled(subscription, partition)
        for size in range(_CLASSES):
            pipe.hget(f"{stream}:ids:{size}:{_number(short) % 2**size}", cast("str", short))

    def trim(self, subscription: str, *, before: float) -> int:
        """Delete what ended before `before` (UNIX seconds by the state server's clock); returns how many."""
        oldest, deleted = max(0, int(before * 1000)), 0
        with state_errors():
            for partition in range(self.partitions):
                names = outcome_keys(subscription, partition)
                while number := cast("int", self._trim(keys=names, args=[oldest, _PAGE])):
                    deleted += number
        return deleted


def _letters_of(event_id: str) -> tuple[str, str]:
    """The ends of the range of an event in the index of the dead letters."""
    return f"[e{event_id}|", f"(e{event_id}|~"


def _number(short: bytes) -> int:
    """What chooses the bucket of an index key."""
    return int.from_bytes(short[:2], "big")


def _owner_keys(subscriptions: Sequence[str], partition: int) -> list[str]:
    return [
        key
        for name in subscriptions
        for key in (
            keys.deliveries(name, partition),
            keys.letter_index(name, partition),
            keys.settled(name, partition),
        )
    ]
