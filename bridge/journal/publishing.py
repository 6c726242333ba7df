"""The Python face of `publish_once.lua`: packs entries, builds revisions, translates the server's errors."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol, cast

import redis

from bridge.errors import StateUnavailable
from bridge.journal.entries import BACKFILL, BRIDGE, POLL, WEBHOOK, Entry, EntryResult, Submission, SubmissionResult
from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["Journal", "Publisher", "attempt_field"]

_ORIGIN = {WEBHOOK: b"w", POLL: b"p", BACKFILL: b"b", BRIDGE: b"o"}
_DAY = 86_400
#: `json.dumps` with arguments would build one for each request.
_ENCODER = json.JSONEncoder(separators=(",", ":"))
#: Rounds of "it changed meanwhile, build again" before giving up; each lost round means somebody else made progress.
_ROUNDS = 10
#: Records in one script call: 100 block the server for about 1.3 ms, more gain nothing.
BATCH = 200


class Publisher(Protocol):
    """Whoever makes one entry durable: the journal itself, or the web server's group commit in front of it."""

    def publish(self, entry: Entry, *, now: float) -> EntryResult: ...


def attempt_field(source: str, attempt_id: str) -> bytes:
    """The 16 bytes under which an attempt is remembered; no id stands in the memory itself."""
    return blake2b(f"{source}\x00{attempt_id}".encode(), digest_size=16).digest()


@dataclass(slots=True)
class _Pending:
    """A submission that still has no verdict. `slot`: (entry, position) in the caller's batch."""

    slot: tuple[int, int]
    submission: Submission
    expected: int = 0
    previous: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _Call:
    """What goes to one partition in one script call."""

    records: list[_Pending] = field(default_factory=list)
    #: (entry, number of its records, outcome so far) of the requests to keep; their records end `records`, in order.
    requests: list[tuple[int, int, str]] = field(default_factory=list)


class Journal:
    """Publish once, for any number of entries in one round trip per partition.

    `client` must not retry commands other than scripts by itself (`bridge.services` builds it): the script may be
    repeated safely, a bare XADD may not.
    """

    def __init__(self, client: redis.Redis, *, partitions: int = 1) -> None:
        self.client = client
        self.partitions = partitions
        self._script = scripts.register(client, __file__, "publish_once")

    def publish(self, entry: Entry, *, now: float) -> EntryResult:
        """One entry; see `publish_batch`."""
        return self.publish_batch([entry], now=now)[0]

    def publish_batch(self, entries: Sequence[Entry], *, now: float) -> list[EntryResult]:
        """Make the entries durable; what is news is appended, exactly once each.

        Raises `StateUnavailable`: nothing, a part or all of it may be done; the same call may be repeated safely.
        """
        verdicts: list[list[SubmissionResult | None]] = [[None] * len(entry.submissions) for entry in entries]
        outcomes: list[str] = ["" for _ in entries]
        todo = [
            _Pending((number, place), submission)
            for number, entry in enumerate(entries)
            for place, submission in enumerate(entry.submissions)
        ]
        bare = [number for number, entry in enumerate(entries) if entry.request and not entry.submissions]
        with state_errors():
            for _ in range(_ROUNDS):
                again: list[_Pending] = []
                for partition, call in self._calls(entries, todo, bare, verdicts):
                    again += self._run(partition, call, entries, verdicts, outcomes, now)
                if not again:
                    break
                self._load_previous(again)
                todo, bare = again, []
            else:
                raise StateUnavailable(f"an attempt changed {_ROUNDS} times while it was being revised; send it again")
        return [
            EntryResult(outcomes[number] or _summary(found), tuple(found))
            for number, found in enumerate(cast("list[list[SubmissionResult]]", verdicts))
        ]

    def _calls(
        self,
        entries: Sequence[Entry],
        todo: list[_Pending],
        bare: list[int],
        verdicts: list[list[SubmissionResult | None]],
    ) -> Iterator[tuple[int, _Call]]:
        """Group by partition, at most `BATCH` records a call; a request goes with the last of its records."""
        by_partition: dict[int, list[_Pending]] = defaultdict(list)
        for pending in todo:
            by_partition[self._partition(pending.submission)].append(pending)
        home = {pending.slot[0]: partition for partition, items in by_partition.items() for pending in items}
        if bare:
            by_partition.setdefault(0, [])
        for partition, items in by_partition.items():
            call = _Call()
            # Records without a request first: the script expects those of a request behind them, request by request.
            loose: list[_Pending] = []
            bound: dict[int, list[_Pending]] = defaultdict(list)
            for item in items:
                number = item.slot[0]
                if entries[number].request is None or home[number] != partition:
                    loose.append(item)
                else:
                    bound[number].append(item)
            for start in range(0, len(loose), BATCH):
                yield partition, _Call(records=loose[start : start + BATCH])
            for number, group in bound.items():
                call.records += group
                so_far = _summary([one for one in verdicts[number] if one is not None])
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
        verdicts: list[list[SubmissionResult | None]],
        outcomes: list[str],
        now: float,
    ) -> list[_Pending]:
        day = int(now // _DAY)
        args: list[bytes | str | int] = [day, len(call.records), len(call.requests)]
        for pending in call.records:
            args += _record_args(pending)
        for number, records, so_far in call.requests:
            args += _request_args(entries[number], records, so_far)
        names = [keys.journal(partition), keys.seen(partition), keys.requests(partition), keys.counts(partition, day)]
        results, kept = cast("tuple[list[Any], list[Any]]", self._script(keys=names, args=args))
        again = []
        for pending, (outcome, revision, entry_id) in zip(call.records, results, strict=True):
            verdict = SubmissionResult(outcome.decode(), revision, entry_id.decode())
            if verdict.outcome == "revise":
                pending.expected = verdict.revision
                pending.previous = {"entry_id": verdict.entry_id}
                again.append(pending)
            else:
                number, place = pending.slot
                verdicts[number][place] = verdict
        for (number, _, _), outcome in zip(call.requests, kept, strict=True):
            outcomes[number] = outcome.decode()
        return again

    def _load_previous(self, again: list[_Pending]) -> None:
        """Replace the stream ids in `previous` by the `data` of those events, in one round trip."""
        pipe = self.client.pipeline(transaction=False)
        for pending in again:
            entry_id = pending.previous["entry_id"] if pending.previous else "0-0"
            pipe.xrange(keys.journal(self._partition(pending.submission)), entry_id, entry_id, count=1)
        for pending, found in zip(again, pipe.execute(), strict=True):
            pending.previous = None
            if found:
                pending.previous = json.loads(found[0][1][b"event"])["data"]

    def _partition(self, submission: Submission) -> int:
        return keys.partition_of(submission.source, submission.subject or submission.attempt_id, self.partitions)


def _record_args(pending: _Pending) -> list[bytes | str | int]:
    submission = pending.submission
    event_type, event_id, event = submission.build(pending.expected + 1, pending.previous)
    return [
        attempt_field(submission.source, submission.attempt_id),
        submission.digest,
        submission.order.to_bytes(5, "big"),
        _ORIGIN[submission.origin],
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
        "\n".join((*(one.attempt_id for one in entry.submissions if one.subject is None), *request.pointers)),
    ]


_RANK = {"published": 4, "revised": 3, "duplicate": 1, "stale": 1}


def _summary(verdicts: Sequence[SubmissionResult]) -> str:
    """The most telling outcome; the same rule as at the end of the script."""
    best = max((verdict.outcome for verdict in verdicts), key=lambda outcome: _RANK[outcome], default="")
    return "duplicate" if best == "stale" else best
