"""Replay jobs: what is chosen, frozen when the job is made; states, progress and rate. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from bridge import clock

__all__ = [
    "ABORTED",
    "ACTIONS",
    "COUNTERS",
    "DEAD_LETTERS",
    "DONE",
    "ENDED",
    "EVENTS",
    "FAILED",
    "KINDS",
    "QUARANTINE",
    "RUNNING",
    "STATES",
    "STOPPED",
    "Part",
    "PartProgress",
    "Replay",
    "StoredReplay",
    "allowance",
    "replay_id",
    "share_done",
]

DEAD_LETTERS, EVENTS, QUARANTINE = "dead_letters", "events", "quarantine"
#: What can be replayed.
KINDS = (DEAD_LETTERS, EVENTS, QUARANTINE)
RUNNING, STOPPED, FAILED, DONE, ABORTED = "running", "stopped", "failed", "done", "aborted"
STATES = (RUNNING, STOPPED, FAILED, DONE, ABORTED)
#: States of jobs that cannot be continued.
ENDED = (DONE, ABORTED)
#: Action -> the state that it leads to, and the states in which it is allowed.
ACTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "stop": (STOPPED, (RUNNING,)),
    "resume": (RUNNING, (STOPPED, FAILED)),
    "abort": (ABORTED, (RUNNING, STOPPED, FAILED)),
}

#: What became of the items that were read. `replayed`: sent again, or read again; `waiting`: not sent yet or under way
#: already, so that its delivery comes anyway; `gone`: no longer there; `excluded`: by the filter of the job or of the
#: subscription; `failed`: the event is missing, or the record is still unreadable.
COUNTERS = ("replayed", "waiting", "gone", "excluded", "failed")


@dataclass(frozen=True, slots=True)
class Part:
    """One stream that a job reads, oldest entry first: what it replays to one subscription in one partition."""

    #: Empty for quarantined records.
    subscription: str
    partition: int
    #: Stream ids, both included; `last` is the newest entry when the job was made. Of an archive: times, ISO 8601.
    first: str
    last: str
    #: The only entries to replay, oldest first; None: all in between.
    entries: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """Names it within its job."""
        return f"{self.subscription}|{self.partition}"


@dataclass(frozen=True, slots=True)
class PartProgress:
    """How far a job got in one part."""

    #: The last entry that was read; empty: none.
    at: str = ""
    done: bool = False
    #: One of `COUNTERS` -> number of items.
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Number of erasures that have begun since the job was made: what was read before one is not replayed.
    epoch: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a job replays. It never changes. Times are UNIX seconds."""

    id: str
    #: One of `KINDS`.
    kind: str
    parts: tuple[Part, ...]
    #: The sql subscription whose table the events are read from; empty: from the journal.
    archive: str = ""
    #: In the language of filters, with absolute times; empty: everything in the parts.
    filter: str = ""
    #: Fingerprint of a failure group; empty: any.
    group: str = ""
    #: Items a second; None: as fast as the subscriptions take them.
    rate: float | None = None
    #: When it was made.
    created: float = 0.0
    #: Who made it.
    by: str = ""

    @property
    def subscriptions(self) -> list[str]:
        """The subscriptions that it replays to, in the order of their names."""
        return sorted({part.subscription for part in self.parts if part.subscription})

    @property
    def partitions(self) -> list[int]:
        """The partitions of its parts, however many partitions the processes serve now."""
        return sorted({part.partition for part in self.parts})

    def to_json(self) -> str:
        """The job as it is stored."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReplay:
    """A job with its state and its progress. Times are UNIX seconds."""

    job: Replay
    #: One of `STATES`.
    state: str
    #: When it was last changed or moved on.
    updated: float
    #: Why it makes no progress, in one line; empty: it does, or has ended.
    waits: str = ""
    #: Why it failed, in one line.
    error: str = ""
    #: In the order of `job.parts`.
    progress: tuple[PartProgress, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """One of `COUNTERS` -> number of items, over all parts."""
        return {name: sum(part.counts.get(name, 0) for part in self.progress) for name in COUNTERS}

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        if self.state == DONE:
            return 1.0
        shares = [share_done(part, done) for part, done in zip(self.job.parts, self.progress, strict=True)]
        return sum(shares) / len(shares) if shares else 1.0

    @property
    def by_subscription(self) -> dict[str, dict[str, int]]:
        """Subscription, or `quarantine` -> counters."""
        totals: dict[str, dict[str, int]] = {}
        for part, done in zip(self.job.parts, self.progress, strict=True):
            counts = totals.setdefault(part.subscription or QUARANTINE, dict.fromkeys(COUNTERS, 0))
            for name in COUNTERS:
                counts[name] += done.counts.get(name, 0)
        return totals


def replay_id(now: float, draw: bytes) -> str:
    """The id of a job. `draw`: two random bytes, for jobs of the same second."""
    return f"replay-{clock.to_datetime(now):%Y%m%dT%H%M%S}-{draw.hex()}"


def share_done(part: Part, progress: PartProgress) -> float:
    """How much of a part is done, 0 to 1: by number where its entries are named, else by time."""
    if progress.done:
        return 1.0
    if not progress.at:
        return 0.0
    if part.entries is not None:
        return sum(_order(entry) <= _order(progress.at) for entry in part.entries) / max(1, len(part.entries))
    first, last, at = (_milliseconds(entry) for entry in (part.first, part.last, progress.at))
    return min(max((at - first) / max(1, last - first), 0.0), 1.0)


def allowance(rate: float | None, carried: float, elapsed: float, most: int) -> float:
    """How many items may be replayed now, `most` at most.

    `rate`: items a second; None: no limit. `carried`: what was allowed and not used. `elapsed`: seconds since then.
    What was not used for longer than a second is lost, so that a job that waited does not resume with a burst.
    """
    if rate is None:
        return float(most)
    return min(carried + rate * max(0.0, elapsed), max(rate, 1.0), float(most))


def _milliseconds(position: str) -> int:
    """The time of a stream id, or of a position in an archive, `<ISO 8601>|<event id>`."""
    time = position.partition("|")[0]
    return int(datetime.fromisoformat(time).timestamp() * 1000) if "T" in time else _order(time)[0]


def _order(entry: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)
