"""Reconciliation: compares the vendor's list with what was published (pure part), and stores the results."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from typing import cast

import redis

from bridge import clock
from bridge.config.model import Source
from bridge.journal import Memory
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.stored_json import record_or_none

__all__ = [
    "CLASSES",
    "MAX_KEPT",
    "Finding",
    "Listed",
    "Published",
    "Reconciliation",
    "Reconciliations",
    "compare",
    "delays",
    "findings",
    "settled_until",
]

#: By which path an attempt was seen. `missing`: the vendor lists it, and it was not published.
BOTH, WEBHOOK_ONLY, POLL_ONLY, MISSING = "both", "webhook_only", "poll_only", "missing"
#: Expected by an operator, past its due time, and neither listed nor published.
EXPECTED = "expected"
CLASSES = (BOTH, WEBHOOK_ONLY, POLL_ONLY, MISSING, EXPECTED)
#: Number of results stored per source.
MAX_KEPT = 30
#: How long a night's failures are kept, seconds.
_FAILURES_KEPT = 2 * 86_400
_DAY = 86_400
#: Attempts that finished within the last round, or this many seconds, may still be on their way.
_IN_TRANSIT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One attempt as the vendor lists it."""

    #: The attempt id.
    id: str
    #: The attempt id and its aliases.
    keys: tuple[str, ...]
    #: When it finished, UNIX seconds; None: the vendor does not report it.
    finished: float | None
    #: Whether its result is later than the published one.
    outdated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The first event of one attempt."""

    #: The attempt id.
    id: str
    #: When it finished, UNIX seconds; None: the vendor does not report it.
    finished: float | None
    #: When it was published, UNIX seconds.
    recorded: float
    #: The path by which it was published.
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One attempt of the period, or one open expectation in it."""

    #: The attempt id, or the expectation's key.
    id: str
    #: When it finished or, for an expectation, was due, UNIX seconds.
    moment: float
    #: Whether the vendor lists it.
    listed: bool = False
    #: Whether it was published.
    published: bool = False
    #: Whether a webhook brought or announced it.
    by_webhook: bool = False
    #: Whether a poll read it.
    by_poll: bool = False
    #: Whether the vendor has a later result than the published one.
    outdated: bool = False

    @property
    def kind(self) -> str:
        """One of `CLASSES`."""
        if not self.published:
            return MISSING if self.listed else EXPECTED
        if self.by_webhook and self.by_poll:
            return BOTH
        return WEBHOOK_ONLY if self.by_webhook else POLL_ONLY


@dataclass(slots=True, kw_only=True)
class Reconciliation:
    """One comparison, as it is stored. Moments are UNIX seconds."""

    #: Name of the source.
    source: str
    #: Start of the period, by finish.
    since: float
    #: End of the period, by finish.
    until: float
    #: When it was started.
    made: float
    #: How long it took.
    seconds: float = 0.0
    #: UTC day -> one of `CLASSES`, or `listed` -> number of attempts.
    days: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Every class but `both`, `outdated`, and `unlisted` (published, but not listed) -> ids, oldest first.
    ids: dict[str, list[str]] = field(default_factory=dict)
    #: Path -> seconds from finish to publishing: `count`, `p50`, `p95`, `max`.
    delays: dict[str, dict[str, float]] = field(default_factory=dict)
    #: Records read.
    records: int = 0
    #: Records and references that could not be read.
    unreadable: int = 0
    #: Stream of an item, such as a form, that could not be read -> why; `unlisted` is then not known.
    unread: dict[str, str] = field(default_factory=dict)
    #: Calls spent.
    calls: int = 0
    #: Ids of attempts that it published.
    fixed: list[str] = field(default_factory=list)
    #: Id of the job that made it; empty: a nightly run, a command, or an earlier version.
    job: str = ""
    #: Who asked for it; empty: nobody, or unknown.
    by: str = ""

    @property
    def id(self) -> str:
        """Names it: the id of its job, or its source and start."""
        return self.job or f"{self.source}/{clock.to_datetime(self.made):%Y%m%dT%H%M%S}"

    def total(self, name: str) -> int:
        """The number over all days, of one of `CLASSES` or `listed`."""
        return sum(day.get(name, 0) for day in self.days.values())


class Reconciliations:
    """The last results of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def keep(self, result: Reconciliation) -> None:
        """Store the newest result."""
        line = json.dumps(asdict(result), separators=(",", ":"))
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.lpush(keys.reconciliations(result.source), line)
            pipe.ltrim(keys.reconciliations(result.source), 0, MAX_KEPT - 1)
            pipe.execute()

    def fail(self, source: str, night: float) -> None:
        """Count a nightly run that a fault of the vendor ended. `night`: when it was due, UNIX seconds."""
        name = keys.failed_reconciliations(source)
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hincrby(name, f"{night:.0f}", 1)
            pipe.expire(name, _FAILURES_KEPT)
            pipe.execute()

    def failures(self, source: str, night: float) -> int:
        """How many reconciliations of this night a fault of the vendor has ended."""
        with state_errors():
            number = cast("bytes | None", self.client.hget(keys.failed_reconciliations(source), f"{night:.0f}"))
        return int(number or 0)

    def last(self, source: str) -> Reconciliation | None:
        """The newest result, or None."""
        return next(iter(self.list(source, limit=1)), None)

    def list(self, source: str, *, limit: int = MAX_KEPT) -> list[Reconciliation]:
        """The results of a source, the newest first."""
        with state_errors():
            lines = cast("list[bytes]", self.client.lrange(keys.reconciliations(source), 0, limit - 1))
        return [result for line in lines if (result := _from_json(source, line)) is not None]

    def last_of(self, sources: Sequence[str]) -> dict[str, Reconciliation | None]:
        """The newest result of each source, in one round trip."""
        pipe = self.client.pipeline(transaction=False)
        for source in sources:
            pipe.lindex(keys.reconciliations(source), 0)
        with state_errors():
            lines = cast("list[bytes | None]", pipe.execute() if sources else [])
        return {
            source: None if line is None else _from_json(source, line)
            for source, line in zip(sources, lines, strict=True)
        }


def _from_json(source: str, line: bytes) -> Reconciliation | None:
    return record_or_none(Reconciliation, line, place=keys.reconciliations(source))


def settled_until(source: Source, now: float) -> float:
    """The moment (UNIX seconds) before which every attempt has had its webhook and its poll."""
    return now - _IN_TRANSIT - (source.poll.every if source.poll.enabled else 0.0)


def findings(
    listed: Mapping[str, Listed],
    published: Mapping[str, Published],
    memories: Mapping[str, Memory],
    announced: Set[str],
    expected: Mapping[str, float],
    *,
    since: float,
    until: float,
) -> list[Finding]:
    """One finding per attempt that finished in the period, and per expectation that was not met.

    `memories`: what is remembered of these attempts. `announced`: keys that webhooks have named without a result.
    `expected`: key -> due time (UNIX seconds) of the expectations that are past it.
    """
    result = []
    for attempt_id in sorted(listed.keys() | published.keys()):
        row, event, memory = listed.get(attempt_id), published.get(attempt_id), memories.get(attempt_id)
        moment = _moment(row, event, memory, since=since, until=until)
        if since <= moment <= until:
            names = row.keys if row else (attempt_id,)
            finding = Finding(
                id=attempt_id,
                moment=moment,
                listed=row is not None,
                published=memory is not None,
                by_webhook=bool(memory and memory.webhook_day is not None) or not announced.isdisjoint(names),
                by_poll=bool(memory and memory.poll_day is not None),
                outdated=bool(row and row.outdated and memory),
            )
            result.append(finding)
    seen = {key for row in listed.values() for key in row.keys} | published.keys()
    result += [Finding(id=key, moment=max(due, since)) for key, due in expected.items() if key not in seen]
    return result


def _moment(row: Listed | None, event: Published | None, memory: Memory | None, *, since: float, until: float) -> float:
    """When it finished, from the vendor's list or the event; else the first day on which it was seen, or `until`."""
    if row is not None and row.finished is not None:
        return row.finished
    if event is not None and event.finished is not None:
        return event.finished
    if memory is None:
        return until
    # Only the day is remembered: take the part of it that lies in the period.
    return max(float(memory.first_day * _DAY), since) if memory.first_day >= since // _DAY else 0.0


def compare(findings: Iterable[Finding]) -> tuple[dict[str, dict[str, int]], dict[str, list[str]]]:
    """`days` and `ids` of a `Reconciliation`."""
    days: dict[str, Counter[str]] = {}
    ids: dict[str, list[str]] = {kind: [] for kind in (*CLASSES[1:], "outdated", "unlisted")}
    for finding in sorted(findings, key=lambda finding: (finding.moment, finding.id)):
        day = days.setdefault(f"{clock.to_datetime(finding.moment):%Y-%m-%d}", Counter())
        day[finding.kind] += 1
        day["listed"] += finding.listed
        if finding.kind != BOTH:
            ids[finding.kind].append(finding.id)
        if finding.outdated:
            ids["outdated"].append(finding.id)
        if finding.published and not finding.listed:
            ids["unlisted"].append(finding.id)
    order = ("listed", *CLASSES)
    return {day: {name: counts[name] for name in order} for day, counts in days.items()}, ids


def delays(published: Iterable[Published], *, since: float, until: float) -> dict[str, dict[str, float]]:
    """Path -> distribution (nearest rank) of the seconds from finish to publishing, for attempts of the period."""
    seconds: dict[str, list[float]] = {}
    for event in published:
        if event.finished is not None and since <= event.finished <= until:
            # The vendor's clock may be ahead of ours.
            seconds.setdefault(event.origin, []).append(max(0.0, event.recorded - event.finished))
    return {path: _distribution(sorted(values)) for path, values in sorted(seconds.items())}


def _distribution(ordered: Sequence[float]) -> dict[str, float]:
    def rank(share: float) -> float:
        return round(ordered[math.ceil(share * len(ordered)) - 1], 3)

    return {"count": len(ordered), "p50": rank(0.5), "p95": rank(0.95), "max": rank(1.0)}
