"""The store of failure groups: listing, marking, and the dead letters in each. Scripts keep them up to date."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import cast

from bridge.delivery.groups import ACKNOWLEDGED, OPEN, FailureGroup, about, fingerprint, merged
from bridge.delivery.outcomes import outcome_keys, register
from bridge.delivery.record import dead_letter
from bridge.delivery.store import Deliveries
from bridge.journal.paging import read_stream
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.stored_json import record_or_none

__all__ = ["FailureGroups"]

_PAGE = 200
#: Field of the counters: the dead letters of earlier versions are in the index.
_INDEXED = "letters_indexed"


class FailureGroups:
    """The groups of all subscriptions. Every method raises `StateUnavailable`."""

    def __init__(self, deliveries: Deliveries) -> None:
        self.client, self.partitions = deliveries.client, deliveries.partitions
        self._deliveries = deliveries
        self._mark = register(self.client, __file__, "mark_group")
        self._forget = register(self.client, __file__, "forget_groups")
        self._index = register(self.client, __file__, "index_letters")

    def of(self, subscription: str) -> list[FailureGroup]:
        """The groups of a subscription over all partitions, the last failure first."""
        return self.of_all([subscription])[subscription]

    def of_all(self, subscriptions: Sequence[str]) -> dict[str, list[FailureGroup]]:
        """The groups of several subscriptions, in one round trip."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for subscription in subscriptions:
                for partition in range(self.partitions):
                    pipe.hgetall(keys.failure_groups(subscription, partition))
            answers = cast("list[dict[bytes, bytes]]", pipe.execute())
        number = self.partitions
        return {
            name: _merged_groups(name, answers[at * number : (at + 1) * number])
            for at, name in enumerate(subscriptions)
        }

    def find(self, subscription: str, name: str) -> FailureGroup | None:
        """The group with this fingerprint, or None."""
        return next((group for group in self.of(subscription) if group.fingerprint == name), None)

    def acknowledge(self, subscription: str, name: str, *, now: float) -> str:
        """Mute a group until it changes; the state it had, or "" if there is none."""
        return self._set_state(subscription, name, ACKNOWLEDGED, now)

    def reopen(self, subscription: str, name: str, *, now: float) -> str:
        """End the muting of a group; the state it had, or "" if there is none."""
        return self._set_state(subscription, name, OPEN, now)

    def letter_ids(self, subscription: str, name: str) -> Iterator[str]:
        """The ids of the dead letters in a group, oldest first; each page is read when it is needed."""
        for partition in range(self.partitions):
            index, prefix, last = keys.letter_index(subscription, partition), f"g{name}|", ""
            while True:
                start = f"({last}" if last else f"[{prefix}"
                with state_errors():
                    members = self.client.zrangebylex(index, start, f"(g{name}}}", start=0, num=_PAGE)
                page = [member.decode() for member in cast("list[bytes]", members)]
                yield from (f"{partition}:{member.removeprefix(prefix)}" for member in page)
                if len(page) < _PAGE:
                    break
                last = page[-1]

    def discard(self, subscription: str, name: str, *, now: float) -> int:
        """Delete the dead letters of a group permanently; returns how many."""
        pages = _batched(self.letter_ids(subscription, name), _PAGE)
        return sum(self._deliveries.discard(subscription, page, now=now) for page in pages)

    def forget_fixed(self, subscription: str, *, before: float) -> int:
        """Delete the groups that were fixed before `before` (UNIX seconds); returns how many."""
        with state_errors():
            return sum(
                cast("int", self._forget(keys=outcome_keys(subscription, partition), args=[f"{before:.3f}"]))
                for partition in range(self.partitions)
            )

    def index_letters(self, subscription: str, *, now: float) -> int:
        """Put the dead letters of earlier versions into their groups, once; returns how many."""
        added = 0
        for partition in range(self.partitions):
            counters = keys.subscription_state(subscription, partition)
            with state_errors():
                if self.client.hexists(counters, _INDEXED):
                    continue
            for page in _batched(self._old_letters(subscription, partition), 4 * _PAGE):
                names = outcome_keys(subscription, partition)
                with state_errors():
                    added += cast("int", self._index(keys=names, args=[f"{now:.3f}", *page]))
            with state_errors():
                self.client.hset(counters, _INDEXED, 1)
        return added

    def _old_letters(self, subscription: str, partition: int) -> Iterator[str]:
        """What index_letters.lua takes, for each letter without a group: letters that come now have one."""
        stream = keys.dead(subscription, partition)
        for entry, fields in read_stream(self.client, stream, page=_PAGE, newest_first=False):
            letter = dead_letter(partition, entry.decode(), fields)
            if not letter.group:
                kind = (letter.reason, None, letter.delivery.error or letter.reason)
                yield from (entry.decode(), letter.delivery.id, fingerprint(*kind), about(*kind))

    def _set_state(self, subscription: str, name: str, state: str, now: float) -> str:
        before = [b""]
        with state_errors():
            for partition in range(self.partitions):
                names = outcome_keys(subscription, partition)
                before.append(cast("bytes", self._mark(keys=names, args=[name, state, f"{now:.3f}"])))
        return max(before, key=lambda word: (word == b"open", word == b"acknowledged", word)).decode()


def _merged_groups(subscription: str, answers: Sequence[Mapping[bytes, bytes]]) -> list[FailureGroup]:
    """The groups of one subscription. `answers`: what is stored in each partition."""
    parts: dict[str, list[FailureGroup]] = {}
    for partition, stored in enumerate(answers):
        for name, text in stored.items():
            place = f"{keys.failure_groups(subscription, partition)} {name.decode()}"
            part = record_or_none(FailureGroup, text, place=place, fingerprint=name.decode())
            # An unreadable group is left out: a count that is too low is better than a list that fails.
            if part is not None:
                parts.setdefault(part.fingerprint, []).append(part)
    return sorted(map(merged, parts.values()), key=lambda group: (-group.last, group.fingerprint))


def _batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page
