"""Calls `publish_once.lua`: packs entries, builds revisions, translates the state server's errors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import redis

from bridge.errors import StateUnavailable
from bridge.journal.entries import (
    OUTCOME_RANK,
    PUBLISHED_OUTCOMES,
    Entry,
    EntryResult,
    SubmissionResult,
)
from bridge.journal.memories import MoveMemories, StalePartitions, stale_as_such
from bridge.journal.script_arguments import Call, Pending, named, record_args, request_args
from bridge.state import counts, keys, scripts
from bridge.state.errors import state_errors
from bridge.state.partitions import Partitions, Spread
from bridge.state.stored_json import UnreadableRecord, json_object, log_unreadable

__all__ = ["Journal", "Publisher"]

_DAY = 86_400
#: Seconds for which the index of event ids outlasts the events of its day, for clocks that differ.
_INDEX_MARGIN = 2 * _DAY
#: How often a revision is built again because the attempt changed meanwhile. Each change is another process's progress.
_ROUNDS = 10
#: Maximum number of records in one call of the script: 100 block the server for about 1.3 ms; more gain nothing.
BATCH = 200


class Publisher(Protocol):
    """Makes one entry durable: the journal itself, or the web server's group commit in front of it."""

    def publish(self, entry: Entry, *, now: float) -> EntryResult: ...


class Journal:
    """Publishes once, any number of entries in one round trip per partition.

    `client` may retry scripts only (`bridge.services` builds it): repeating the script is safe, repeating XADD is not.
    """

    def __init__(self, client: redis.Redis, *, partitions: int = 1, keep_events: float = 30 * _DAY) -> None:
        """`keep_events`: seconds for which events are kept, `retention.events`."""
        self.client = client
        self.partitions = partitions
        self._places = Partitions(client, partitions)
        self._keep_index = int(keep_events) + _INDEX_MARGIN
        self._script = scripts.register(client, __file__, "buckets", "publish_once", after=counts.ADD_COUNTS)
        self._memories = MoveMemories(client)

    def publish(self, entry: Entry, *, now: float) -> EntryResult:
        """Publish one entry; see `publish_batch`."""
        return self.publish_batch([entry], now=now)[0]

    def publish_batch(self, entries: Sequence[Entry], *, now: float) -> list[EntryResult]:
        """Make the entries durable and append each new version of an attempt to the journal exactly once.

        Raises `StateUnavailable`: none, some or all of it may be done, and the call can be repeated safely.
        """
        results: list[list[SubmissionResult | None]] = [[None] * len(entry.submissions) for entry in entries]
        outcomes: list[str] = ["" for _ in entries]
        pending = [
            Pending((number, position), submission)
            for number, entry in enumerate(entries)
            for position, submission in enumerate(entry.submissions)
        ]
        bare = [number for number, entry in enumerate(entries) if entry.request and not entry.submissions]
        refusal: StalePartitions | None = None
        with state_errors():
            for _ in range(_ROUNDS):
                try:
                    spread = self._places.spread()
                    self._bring_home(pending, spread)
                except StalePartitions as error:
                    self._places.reload()
                    refusal = error
                    continue
                again, stale = list[Pending](), Call()
                for partition, call in self._calls(entries, pending, bare, results):
                    try:
                        again += self._run(partition, call, spread, entries, results, outcomes, now)
                    except StalePartitions as error:
                        self._places.reload()
                        refusal = error
                        stale.records += call.records
                        stale.requests += call.requests
                bare = [number for number, records, _ in stale.requests if not records]
                if not (again or stale.records or bare):
                    break
                self._load_previous(again)
                pending = again + stale.records
            else:
                if refusal is not None:
                    raise refusal
                raise StateUnavailable(f"an attempt changed {_ROUNDS} times while it was being revised. Send it again")
        return [
            EntryResult(outcomes[number] or _highest_outcome(done), tuple(done))
            for number, done in enumerate(cast("list[list[SubmissionResult]]", results))
        ]

    def places(self, entry: Entry) -> tuple[int, ...]:
        """The partitions that an entry is written to. Raises `StateUnavailable`."""
        spread = self._places.spread()
        return tuple(sorted({spread.home(*named(each))[0] for each in entry.submissions})) or (0,)

    def mark_buckets(self) -> None:
        """Give the buckets of an earlier version's memory their marks; every process does so before it publishes.

        Any number of processes may do so at once: each call of the script marks some. Raises `StateUnavailable`.
        """
        for partition in range(self.partitions):
            with state_errors():
                while not self._is_marked(partition):
                    self._run(partition, Call(), self._places.spread(), (), [], [], 0.0)

    def _is_marked(self, partition: int) -> bool:
        buckets, marked = cast("list[bytes | None]", self.client.hmget(keys.seen(partition), ["b", "m"]))
        return int(buckets or 0) <= int(marked or 0)

    def _calls(
        self,
        entries: Sequence[Entry],
        pending: list[Pending],
        bare: list[int],
        results: list[list[SubmissionResult | None]],
    ) -> Iterator[tuple[int, Call]]:
        """The calls by partition, of at most `BATCH` records; a request goes with the last of its records.

        `results` has those of every call before the next one is asked for.
        """
        by_partition: dict[int, list[Pending]] = defaultdict(list)
        for item in pending:
            by_partition[item.partition].append(item)
        if bare:
            by_partition.setdefault(0, [])
        for partition, items in by_partition.items():
            call = Call()
            # Records without a request come first: the script expects those of each request after them.
            without_request: list[Pending] = []
            by_request: dict[int, list[Pending]] = defaultdict(list)
            here = Counter(item.slot[0] for item in items)
            for item in items:
                number = item.slot[0]
                if entries[number].request is None or results[number].count(None) > here[number]:
                    without_request.append(item)
                else:
                    by_request[number].append(item)
            for start in range(0, len(without_request), BATCH):
                yield partition, Call(records=without_request[start : start + BATCH])
            for number, group in by_request.items():
                call.records += group
                so_far = _highest_outcome([result for result in results[number] if result is not None])
                call.requests.append((number, len(group), so_far))
                if len(call.records) >= BATCH:
                    yield partition, call
                    call = Call()
            if partition == 0:
                call.requests += [(number, 0, "") for number in bare]
            if call.records or call.requests:
                yield partition, call

    def _run(
        self,
        partition: int,
        call: Call,
        spread: Spread,
        entries: Sequence[Entry],
        results: list[list[SubmissionResult | None]],
        outcomes: list[str],
        now: float,
    ) -> list[Pending]:
        day = int(now // _DAY)
        args: list[bytes | str | int] = [day, len(call.records), len(call.requests), self._keep_index, spread.epoch]
        for pending in call.records:
            args += record_args(pending, spread)
        for number, records, so_far in call.requests:
            args += request_args(entries[number], records, so_far)
        names = [keys.journal(partition), keys.seen(partition), keys.requests(partition)]
        names += [*counts.names(keys.counts, partition, now), keys.event_ids(partition)]
        with stale_as_such():
            answers, stored = cast("tuple[list[Any], list[Any]]", self._script(keys=names, args=args))
        again = []
        for pending, (outcome, revision, entry_id) in zip(call.records, answers, strict=True):
            result = SubmissionResult(outcome.decode(), revision, entry_id.decode())
            if result.outcome == "revise":
                pending.expected = result.revision
                pending.previous = {"entry_id": result.entry_id}
                again.append(pending)
            else:
                number, position = pending.slot
                results[number][position] = result
                if pending.submission.span is not None and result.outcome in PUBLISHED_OUTCOMES:
                    pending.submission.span.end()
        for (number, _, _), outcome in zip(call.requests, stored, strict=True):
            outcomes[number] = outcome.decode()
        return again

    def _load_previous(self, again: list[Pending]) -> None:
        """Replace each stream id in `previous` with the `data` of that event, in one round trip."""
        pipe, places = self.client.pipeline(transaction=False), []
        for pending in again:
            entry_id = pending.previous["entry_id"] if pending.previous else "0-0"
            pending.previous = None
            source, attempt, _ = named(pending.submission)
            for partition in self._places.with_events(source, attempt):
                pipe.xrange(keys.journal(partition), entry_id, entry_id, count=1)
                places.append((pending, (source.encode(), attempt.encode())))
        for (pending, wanted), items in zip(places, pipe.execute(), strict=True):
            for _, fields in items:
                if (fields.get(b"source"), fields.get(b"attempt")) == wanted:
                    pending.previous = _data(fields.get(b"event", b""))

    def _bring_home(self, pending: Sequence[Pending], spread: Spread) -> None:
        """Find the partition where each attempt belongs, and bring its memory there if another one still has it."""
        wanted, moved = [], [item for item in pending if item.epoch != spread.epoch]
        for item in moved:
            about = named(item.submission)
            item.partition, item.field = spread.home(*about)
            # The calls that publish them have the same epoch, so what is not home by then is refused.
            if earlier := spread.earlier(*about):
                wanted.append(((item.partition, item.field), earlier))
        if wanted:
            self._memories.fetch(wanted, spread)
        for item in moved:
            item.epoch = spread.epoch


def _data(event: bytes) -> dict[str, Any] | None:
    """The `data` of an event of the journal; None if it cannot be read, as if the journal no longer had it."""
    try:
        data = json_object(event).get("data")
    except UnreadableRecord as error:
        log_unreadable("event of the journal", str(error))
        return None
    return data if isinstance(data, dict) else None


def _highest_outcome(results: Sequence[SubmissionResult]) -> str:
    """The highest outcome by `OUTCOME_RANK`, "" for none; the same rule as at the end of the script."""
    highest = max((result.outcome for result in results), key=OUTCOME_RANK.__getitem__, default="")
    return "duplicate" if highest == "stale" else highest
