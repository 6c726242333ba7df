"""Calls `publish_once.lua`: packs entries, builds revisions, translates the state server's errors."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import redis

from bridge.errors import StateUnavailable
from bridge.journal.entries import (
    BACKFILL,
    BRIDGE,
    OUTCOME_RANK,
    POLL,
    PUBLISHED_OUTCOMES,
    WEBHOOK,
    Entry,
    EntryResult,
    Submission,
    SubmissionResult,
)
from bridge.state import counts, keys, scripts
from bridge.state.errors import state_errors
from bridge.state.partitions import Partitions
from bridge.state.stored_json import UnreadableRecord, json_object, log_unreadable

__all__ = ["Journal", "Publisher"]

_ORIGIN = {WEBHOOK: b"w", POLL: b"p", BACKFILL: b"b", BRIDGE: b"o"}
_ANNOUNCED = b"a"
_DAY = 86_400
#: Seconds for which the index of event ids outlasts the events of its day, for clocks that differ.
_INDEX_MARGIN = 2 * _DAY
#: `json.dumps` with arguments would build an encoder for each request.
_ENCODER = json.JSONEncoder(separators=(",", ":"))
#: How often a revision is built again because the attempt changed meanwhile; each time another process made progress.
_ROUNDS = 10
#: Maximum number of records in one call of the script: 100 block the server for about 1.3 ms; more gain nothing.
BATCH = 200


class Publisher(Protocol):
    """Makes one entry durable: the journal itself, or the web server's group commit in front of it."""

    def publish(self, entry: Entry, *, now: float) -> EntryResult: ...


@dataclass(slots=True)
class _Pending:
    """A submission without a result yet."""

    #: (entry, position) in the caller's batch.
    slot: tuple[int, int]
    #: The submission.
    submission: Submission
    #: Where it is remembered.
    partition: int
    field: bytes
    #: The revision that the attempt must still have; 0: it must be unknown.
    expected: int = 0
    #: `data` of the event of that revision.
    previous: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _Call:
    """The arguments of one call of the script, for one partition."""

    #: Records without a request first, then those of each request.
    records: list[_Pending] = field(default_factory=list)
    #: (entry, number of its records, outcome so far) of each request to store, in the order of their records.
    requests: list[tuple[int, int, str]] = field(default_factory=list)


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
        self._script = scripts.register(client, __file__, "publish_once", after=counts.ADD_COUNTS)

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
            self._pending((number, position), submission)
            for number, entry in enumerate(entries)
            for position, submission in enumerate(entry.submissions)
        ]
        bare = [number for number, entry in enumerate(entries) if entry.request and not entry.submissions]
        with state_errors():
            for _ in range(_ROUNDS):
                again: list[_Pending] = []
                for partition, call in self._calls(entries, pending, bare, results):
                    again += self._run(partition, call, entries, results, outcomes, now)
                if not again:
                    break
                self._load_previous(again)
                pending, bare = again, []
            else:
                raise StateUnavailable(f"an attempt changed {_ROUNDS} times while it was being revised. Send it again")
        return [
            EntryResult(outcomes[number] or _highest_outcome(done), tuple(done))
            for number, done in enumerate(cast("list[list[SubmissionResult]]", results))
        ]

    def places(self, entry: Entry) -> tuple[int, ...]:
        """The partitions that an entry is written to. Raises `StateUnavailable`."""
        return tuple(sorted({self._pending((0, 0), each).partition for each in entry.submissions})) or (0,)

    def mark_buckets(self) -> None:
        """Give the buckets of an earlier version's memory their marks; a process does it before it publishes.

        Any number of processes may, each call of the script marks some. Raises `StateUnavailable`.
        """
        for partition in range(self.partitions):
            with state_errors():
                while not self._is_marked(partition):
                    self._run(partition, _Call(), (), [], [], 0.0)

    def _is_marked(self, partition: int) -> bool:
        buckets, marked = cast("list[bytes | None]", self.client.hmget(keys.seen(partition), ["b", "m"]))
        return int(buckets or 0) <= int(marked or 0)

    def _calls(
        self,
        entries: Sequence[Entry],
        pending: list[_Pending],
        bare: list[int],
        results: list[list[SubmissionResult | None]],
    ) -> Iterator[tuple[int, _Call]]:
        """The calls by partition, of at most `BATCH` records; a request goes with the last of its records."""
        by_partition: dict[int, list[_Pending]] = defaultdict(list)
        for item in pending:
            by_partition[item.partition].append(item)
        home = {item.slot[0]: partition for partition, items in by_partition.items() for item in items}
        if bare:
            by_partition.setdefault(0, [])
        for partition, items in by_partition.items():
            call = _Call()
            # Records without a request come first: the script expects those of each request after them.
            without_request: list[_Pending] = []
            by_request: dict[int, list[_Pending]] = defaultdict(list)
            for item in items:
                number = item.slot[0]
                if entries[number].request is None or home[number] != partition:
                    without_request.append(item)
                else:
                    by_request[number].append(item)
            for start in range(0, len(without_request), BATCH):
                yield partition, _Call(records=without_request[start : start + BATCH])
            for number, group in by_request.items():
                call.records += group
                so_far = _highest_outcome([result for result in results[number] if result is not None])
                call.requests.append((number, len(group), so_far))
                if len(call.records) >= BATCH:
                    yield partition, call
                    call = _Call()
            if partition == 0:
                call.requests += [(number, 0, "") for number in bare]
            if call.records or call.requests:
                yield partition, call

    def _run(
        self,
        partition: int,
        call: _Call,
        entries: Sequence[Entry],
        results: list[list[SubmissionResult | None]],
        outcomes: list[str],
        now: float,
    ) -> list[_Pending]:
        day = int(now // _DAY)
        args: list[bytes | str | int] = [day, len(call.records), len(call.requests), self._keep_index]
        for pending in call.records:
            args += _record_args(pending)
        for number, records, so_far in call.requests:
            args += _request_args(entries[number], records, so_far)
        names = [keys.journal(partition), keys.seen(partition), keys.requests(partition)]
        names += [*counts.names(keys.counts, partition, now), keys.event_ids(partition)]
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

    def _load_previous(self, again: list[_Pending]) -> None:
        """Replace each stream id in `previous` with the `data` of that event, in one round trip."""
        pipe = self.client.pipeline(transaction=False)
        for pending in again:
            entry_id = pending.previous["entry_id"] if pending.previous else "0-0"
            pipe.xrange(keys.journal(pending.partition), entry_id, entry_id, count=1)
        for pending, items in zip(again, pipe.execute(), strict=True):
            pending.previous = _data(items[0][1].get(b"event", b"")) if items else None

    def _pending(self, slot: tuple[int, int], submission: Submission) -> _Pending:
        if submission.subject:
            home = self._places.home(submission.source, submission.subject, submission.attempt_id)
        else:
            home = self._places.home(submission.source, submission.attempt_id)
        return _Pending(slot, submission, *home)


def _data(event: bytes) -> dict[str, Any] | None:
    """The `data` of an event of the journal; None if it cannot be read, as if the journal no longer had it."""
    try:
        data = json_object(event).get("data")
    except UnreadableRecord as error:
        log_unreadable("event of the journal", str(error))
        return None
    return data if isinstance(data, dict) else None


def _record_args(pending: _Pending) -> list[bytes | str | int]:
    submission = pending.submission
    ends = submission.journal_ends
    event_type, event_id, event = submission.build(pending.expected + 1, pending.previous)
    if submission.span is not None:
        named = {
            "messaging.message.id": event_id,
            "cloudevents.event_id": event_id,
            "cloudevents.event_type": event_type,
        }
        submission.span.set(named)
    return [
        pending.field,
        submission.digest + submission.former_digest,
        submission.order.to_bytes(5, "big") + (b"" if ends is None else ends[pending.partition].encode()),
        _ANNOUNCED if submission.announced and submission.origin == POLL else _ORIGIN[submission.origin],
        pending.expected,
        event_type,
        event_id,
        submission.source,
        submission.subject or submission.attempt_id,
        event,
    ]


def _request_args(entry: Entry, records: int, so_far: str) -> list[bytes | str | int]:
    request = entry.request
    if request is None:
        raise AssertionError("only entries with a request come here")
    return [
        request.outcome or "",
        records,
        so_far,
        request.id,
        request.source,
        f"{request.received_at:.3f}",
        request.reason,
        _ENCODER.encode(dict(request.headers)),
        request.body,
        "\n".join((*(item.attempt_id for item in entry.submissions if item.subject is None), *request.pointers)),
        "" if request.secret is None else request.secret,
    ]


def _highest_outcome(results: Sequence[SubmissionResult]) -> str:
    """The highest outcome by `OUTCOME_RANK`, "" for none; the same rule as at the end of the script."""
    highest = max((result.outcome for result in results), key=OUTCOME_RANK.__getitem__, default="")
    return "duplicate" if highest == "stale" else highest
