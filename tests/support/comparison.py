"""What every fault test ends with: what was acknowledged, what stands in the journal, what the receivers got."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import redis

from bridge.delivery.store import Deliveries
from bridge.journal.reading import Reader
from bridge.state import keys
from bridge.state.partitions import partition_of_field, read_spread

__all__ = ["Attempt", "Counts", "misplaced", "reconcile"]

#: (source, attempt id)
Attempt = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """`lost`: acknowledged and not in the journal. `doubled`: `attempt.completed` or event ids too many. `unreached`:
    (receiver, event) pairs that are neither effect nor dead letter. Memory: an entry without its key, or the reverse.
    """

    acked: int
    in_journal: int
    events: int
    lost: int
    doubled: int
    key_without_entry: int
    entry_without_key: int
    pending: int
    unreached: int
    effects: int
    effect_doubles: int
    dead_letters: int
    server: str

    def line(self, **more: object) -> str:
        """One JSON line; `more`: seed, faults, what else the run wants to tell."""
        return json.dumps(asdict(self) | more)

    @property
    def wrong(self) -> dict[str, int]:
        """The counts that must be 0 and are not."""
        names = ("lost", "doubled", "key_without_entry", "entry_without_key", "pending", "unreached")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def reconcile(
    client: redis.Redis,
    *,
    acked: Iterable[Attempt],
    effects: Mapping[str, Counter[str]] | None = None,
    subscriptions: Iterable[str] = (),
    partitions: int = 1,
) -> Counts:
    """Read the journal by XRANGE and compare. `effects`: receiver -> event id -> times."""
    reader, deliveries = Reader(client, partitions=partitions), Deliveries(client, partitions=partitions)
    events = list(reader.events(newest_first=False))
    completed = Counter((event.source, event.attempt) for event in events if event.type == "attempt.completed")
    attempts = {(event.source, event.attempt) for event in events}
    ids = Counter(event.id for event in events)
    letters = {name: {letter.delivery.id for letter in deliveries.dead_letters(name)} for name in subscriptions}
    got = effects or {}
    wanted = set(acked)
    journals = {keys.journal(event.partition) for event in events}
    groups: list[Any] = [group for journal in journals for group in client.xinfo_groups(journal)]
    without_key = sum(reader.attempt(*attempt) is None for attempt in attempts)
    return Counts(
        acked=len(wanted),
        in_journal=len(completed),
        events=len(events),
        lost=len(wanted - set(completed)),
        doubled=sum(times - 1 for times in completed.values()) + sum(times - 1 for times in ids.values()),
        key_without_entry=reader.remembered() - (len(attempts) - without_key),
        entry_without_key=without_key,
        pending=sum(group["pending"] for group in groups),
        unreached=sum(len(set(ids) - set(effect) - letters.get(name, set())) for name, effect in got.items()),
        effects=sum(sum(effect.values()) for effect in got.values()),
        effect_doubles=sum(times - 1 for effect in got.values() for times in effect.values()),
        dead_letters=sum(len(some) for some in letters.values()),
        server=_version(client),
    )


def misplaced(client: redis.Redis, partitions: int) -> int:
    """Memories that are in another partition than where they belong; all must be of layout 3."""
    spread, wrong = read_spread(client, configured=partitions), 0
    assert spread is not None
    for partition in range(partitions):
        for bucket in range(int(client.hget(keys.seen(partition), "b") or 0)):  # type: ignore[arg-type]
            fields: list[bytes] = client.hkeys(f"{keys.seen(partition)}:{bucket}")  # type: ignore[assignment]
            # The mark of a bucket is shorter.
            wrong += sum(len(f) == 16 and partition_of_field(f, spread.partitions) != partition for f in fields)
    return wrong


def _version(client: redis.Redis) -> str:
    facts: Any = client.info("server")
    return f"{facts.get('server_name', 'redis')} {facts.get('valkey_version', facts['redis_version'])}"
