"""What deliveries hold about a person: those under way, answers, dead letters, settled ones, failure groups, alarms."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, cast

from bridge.delivery.erasing import ErasingDeliveries
from bridge.delivery.record import Delivery, dead_letter
from bridge.delivery.settled import read_settled
from bridge.delivery.store import Deliveries
from bridge.erasure.person import EVENT, Trace
from bridge.erasure.places import Batch, Context, Hit, StreamPlace, Units, reference
from bridge.erasure.rewriting import ERASED, Rewriter, dumped
from bridge.state import keys

__all__ = ["AnswerPlace", "DeadLetterPlace", "DeliveryPlace", "GroupPlace", "SettledPlace", "SubscriptionPlace"]

#: Bytes of the failure group in front of the stored tries.
_GROUP = 12


class _Owned(Units):
    """One unit for each subscription and partition."""

    def __init__(self, context: Context, now: Callable[[], float]) -> None:
        super().__init__(context)
        self.now = now

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        numbers = range(self.context.partitions)
        return [(name, number) for name in self.context.subscriptions for number in numbers]


class _Fields(_Owned):
    """Hashes of a subscription."""

    def hash_of(self, subscription: str, partition: int) -> str:
        """The key that a unit reads."""
        raise NotImplementedError

    def hit(self, unit: tuple[str, int], name: bytes, value: bytes) -> Hit | None:
        """What a field has about the person."""
        raise NotImplementedError

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        """See `Units`."""
        after, fields = cast(
            "tuple[int, dict[bytes, bytes]]", self.client.hscan(self.hash_of(*unit), int(cursor or 0), count=limit)
        )
        hits = [hit for name, value in fields.items() if (hit := self.hit(unit, name, value))]
        return Batch(hits, str(after) if after else None, len(fields), self.learned(hits))

    def learned(self, hits: Sequence[Hit]) -> Sequence[Trace]:
        """What the hits reveal about the person."""
        return ()


class DeliveryPlace(_Fields):
    """Deliveries that wait for a retry or a receipt: they are not sent again."""

    def __init__(self, context: Context, now: Callable[[], float]) -> None:
        super().__init__(context, now)
        self._erasing = ErasingDeliveries(context.client)

    def hash_of(self, subscription: str, partition: int) -> str:
        """See `_Fields`."""
        return keys.deliveries(subscription, partition)

    def hit(self, unit: tuple[str, int], name: bytes, value: bytes) -> Hit | None:
        """See `_Fields`."""
        ident = name.decode(errors="replace")
        delivery, matcher = Delivery.for_display(value, ident), self.matcher
        is_ours = delivery.source == self.context.source and (
            delivery.attempt in matcher.attempts or matcher.traces_of(delivery.attempt, (delivery.event or "").encode())
        )
        if is_ours or ident in matcher.events or (delivery.reason == "unreadable" and matcher.in_body(value)):
            return Hit("deliveries", reference(*map(str, unit), ident), "", (unit, name))
        return None

    def learned(self, hits: Sequence[Hit]) -> Sequence[Trace]:
        """See `_Fields`."""
        return [(EVENT, hit.item[1].decode(errors="replace")) for hit in hits]

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for unit, chosen in groupby(hits, key=lambda hit: hit.item[0]):
            self._erasing.end(unit[0], unit[1], [hit.item[1] for hit in chosen], now=self.now())


class AnswerPlace(_Fields):
    """Tries of deliveries of others whose answers mention the person: these tries are removed."""

    def __init__(self, context: Context, now: Callable[[], float]) -> None:
        super().__init__(context, now)
        self._rewrite = Rewriter(context.client)

    def hash_of(self, subscription: str, partition: int) -> str:
        """See `_Fields`."""
        return keys.tries(subscription, partition)

    def hit(self, unit: tuple[str, int], name: bytes, value: bytes) -> Hit | None:
        """See `_Fields`."""
        # The tries of the person's own deliveries were removed with the deliveries.
        if name.decode(errors="replace") in self.matcher.events or self._without(value) == value:
            return None
        return Hit("answers", reference(*map(str, unit), name.decode(errors="replace")), self.hash_of(*unit), name)

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for hit in hits:
            self._rewrite.field(hit.key, hit.item, self._without)

    def _without(self, value: bytes) -> bytes:
        lines = value[_GROUP:].split(b"\n")
        return value[:_GROUP] + b"\n".join(line for line in lines if not self.matcher.in_body(line))


class DeadLetterPlace(_Owned, StreamPlace):
    """Dead letters of the person's events; those of others whose answers mention the person lose their tries."""

    def __init__(self, context: Context, now: Callable[[], float]) -> None:
        super().__init__(context, now)
        self._deliveries = Deliveries(context.client, partitions=context.partitions)
        self._erasing = ErasingDeliveries(context.client)

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        return [(keys.dead(*owner), *owner) for owner in super().units()]

    def entry(self, unit: Any, entry: str, fields: dict[bytes, bytes]) -> tuple[Sequence[Hit], Sequence[Trace]]:
        """See `StreamPlace`."""
        matcher, (_, name, partition) = self.matcher, unit
        attempt = fields.get(b"attempt", b"").decode(errors="replace")
        is_ours = fields.get(b"id", b"").decode(errors="replace") in matcher.events or (
            fields.get(b"source", b"").decode(errors="replace") == self.context.source
            and matcher.traces_of(attempt, fields.get(b"event", b"")) is not None
        )
        where = f"{name}:{partition}:{entry}"
        if is_ours:
            return (Hit("dead_letters", where, name, (True, dead_letter(partition, entry, fields))),), ()
        if any(matcher.in_body(fields.get(part, b"")) for part in (b"tries", b"delivery", b"record")):
            return (Hit("answers", where, name, (False, dead_letter(partition, entry, fields))),), ()
        return (), ()

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for name, chosen in groupby(hits, key=lambda hit: hit.key):
            letters = [hit.item for hit in chosen]
            ours = [letter.id for is_ours, letter in letters if is_ours]
            self._deliveries.discard(name, ours, now=self.now(), counted_as="erased")
            self._erasing.remove_answers(name, [letter for is_ours, letter in letters if not is_ours])


class SettledPlace(_Owned, StreamPlace):
    """Deliveries that have ended, with the beginning of the receivers' answers."""

    def __init__(self, context: Context, now: Callable[[], float]) -> None:
        super().__init__(context, now)
        self._erasing = ErasingDeliveries(context.client)

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        return [(keys.settled(*owner), *owner) for owner in super().units()]

    def entry(self, unit: Any, entry: str, fields: dict[bytes, bytes]) -> tuple[Sequence[Hit], Sequence[Trace]]:
        """See `StreamPlace`."""
        matcher, (_, name, partition) = self.matcher, unit
        settled = read_settled(partition, entry.encode(), fields)
        is_ours = settled is not None and (
            settled.id in matcher.events
            or (settled.source == self.context.source and settled.attempt in matcher.attempts)
        )
        logs = [fields.get(part, b"") for part in (b"l", b"a")]
        if not (
            is_ours or any(map(matcher.in_body, logs)) or (settled is None and matcher.in_body(fields.get(b"d", b"")))
        ):
            return (), ()
        return (Hit("settled_deliveries", f"{name}:{partition}:{entry}", name, (name, partition, entry)),), ()

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for owner, chosen in groupby(hits, key=lambda hit: hit.item[:2]):
            self._erasing.remove_settled(owner[0], owner[1], [hit.item[2] for hit in chosen])


class GroupPlace(_Fields):
    """Failure groups whose example is an event of the person, or whose message mentions the person."""

    def __init__(self, context: Context, now: Callable[[], float]) -> None:
        super().__init__(context, now)
        self._rewrite = Rewriter(context.client)

    def hash_of(self, subscription: str, partition: int) -> str:
        """See `_Fields`."""
        return keys.failure_groups(subscription, partition)

    def hit(self, unit: tuple[str, int], name: bytes, value: bytes) -> Hit | None:
        """See `_Fields`."""
        if self._without(value) == value:
            return None
        return Hit("failure_groups", reference(*map(str, unit), name.decode()), self.hash_of(*unit), name)

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for hit in hits:
            self._rewrite.field(hit.key, hit.item, self._without)

    def _without(self, value: bytes) -> bytes:
        try:
            group = json.loads(value)
            message, example = str(group["message"]), group["example"]
        except (ValueError, KeyError, TypeError):
            return value
        is_example, is_message = example in self.matcher.events, self.matcher.in_text(message)
        if not (is_example or is_message):
            return value
        return dumped({**group, "example": "" if is_example else example, "message": ERASED if is_message else message})


class SubscriptionPlace(_Owned):
    """The last error of a subscription and what was announced about it."""

    def __init__(self, context: Context, now: Callable[[], float]) -> None:
        super().__init__(context, now)
        self._rewrite = Rewriter(context.client)

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        """See `Units`."""
        places = [(keys.subscription_state(*unit), "last_error"), (keys.subscription_alarm(unit[0]), "record")]
        values = [cast("bytes | None", self.client.hget(*place)) for place in places]
        hits = [
            Hit("subscriptions", reference(*place), *place)
            for place, value in zip(places, values, strict=True)
            if value is not None and self.matcher.in_text(value.decode(errors="replace"))
        ]
        return Batch(hits, None, len(places))

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for hit in hits:
            self._rewrite.field(hit.key, hit.item, self._without)

    def _without(self, value: bytes) -> bytes:
        try:
            record = json.loads(value)
        except ValueError:
            return ERASED.encode()
        return dumped({**record, "value": ERASED}) if isinstance(record, dict) else ERASED.encode()
