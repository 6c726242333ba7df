"""What the vendor lists against what the bridge has published: pure comparison, and the results that are kept."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from typing import cast

import redis

from bridge import clock
from bridge.journal import Memory
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = [
    "CLASSES",
    "KEPT",
    "Finding",
    "Listed",
    "Published",
    "Reconciliation",
    "Reconciliations",
    "compare",
    "delays",
    "findings",
]

#: How an attempt of the period was seen. `missing`: the vendor lists it, nobody has published it.
BOTH, WEBHOOK_ONLY, POLL_ONLY, MISSING = "both", "webhook_only", "poll_only", "missing"
#: Expected by an operator, past its due time, and neither listed nor published.
EXPECTED = "expected"
CLASSES = (BOTH, WEBHOOK_ONLY, POLL_ONLY, MISSING, EXPECTED)
#: Results kept per source.
KEPT = 30
_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One attempt as the vendor lists it. `keys`: its id and its aliases. `finished`: UNIX seconds; None: not told.
    `outdated`: its result is later than the one published."""

    id: str
    keys: tuple[str, ...]
    finished: float | None
    outdated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The first event of one attempt. `finished`: UNIX seconds; None: not told. `recorded`: when it was published."""

    id: str
    finished: float | None
    recorded: float
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One attempt of the period, or one open expectation in it.

    `moment`: UNIX seconds of its finish, or of the expectation's due time. `listed`: the vendor lists it. `published`,
    `by_webhook`, `by_poll`: what is remembered of it. `outdated`: the vendor has a later result than was published.
    """

    id: str
    moment: float
    listed: bool = False
    published: bool = False
    by_webhook: bool = False
    by_poll: bool = False
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
    """One comparison. Moments are UNIX seconds.

    `since`, `until`: the period, by finish. `days`: UTC day -> class -> number, and `listed`. `ids`: every class but
    `both`, `outdated` (see `Finding`) and `unlisted` (published, but not in the vendor's list) -> ids, oldest first.
    `delays`: path -> seconds from finish to publishing (`count`, `p50`, `p95`, `max`). `records`, `calls`: read and
    spent for it. `unreadable`: records that could not be read. `fixed`: what was published because of it.
    """

    source: str
    since: float
    until: float
    made: float
    seconds: float = 0.0
    days: dict[str, dict[str, int]] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)
    delays: dict[str, dict[str, float]] = field(default_factory=dict)
    records: int = 0
    unreadable: int = 0
    calls: int = 0
    fixed: list[str] = field(default_factory=list)

    def total(self, name: str) -> int:
        """Over all days: of one of `CLASSES`, or of `listed`."""
        return sum(day.get(name, 0) for day in self.days.values())


class Reconciliations:
    """The last results of every source. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def keep(self, result: Reconciliation) -> None:
        """Remember it as the newest."""
        line = json.dumps(asdict(result), separators=(",", ":"))
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.lpush(keys.reconciliations(result.source), line)
            pipe.ltrim(keys.reconciliations(result.source), 0, KEPT - 1)
            pipe.execute()

    def last(self, source: str) -> Reconciliation | None:
        """The newest, or None."""
        return next(iter(self.list(source, limit=1)), None)

    def list(self, source: str, *, limit: int = KEPT) -> list[Reconciliation]:
        """The newest first."""
        with state_errors():
            lines = cast("list[bytes]", self.client.lrange(keys.reconciliations(source), 0, limit - 1))
        return [Reconciliation(**json.loads(line)) for line in lines]


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
    """One finding per attempt that finished in the period, and per expectation that nothing came of.

    `memories`: of all of them that are known. `announced`: keys that webhooks have named without a result.
    `expected`: key -> due time (UNIX seconds) of the expectations that are past it.
    """
    found = []
    for attempt_id in sorted(listed.keys() | published.keys()):
        row, event, memory = listed.get(attempt_id), published.get(attempt_id), memories.get(attempt_id)
        moment = _moment(row, event, memory, since=since, until=until)
        if since <= moment <= until:
            keys_of_it = row.keys if row else (attempt_id,)
            finding = Finding(
                id=attempt_id,
                moment=moment,
                listed=row is not None,
                published=memory is not None,
                by_webhook=bool(memory and memory.webhook_day is not None) or not announced.isdisjoint(keys_of_it),
                by_poll=bool(memory and memory.poll_day is not None),
                outdated=bool(row and row.outdated and memory),
            )
            found.append(finding)
    come = {key for row in listed.values() for key in row.keys} | published.keys()
    found += [Finding(id=key, moment=max(due, since)) for key, due in expected.items() if key not in come]
    return found


def _moment(row: Listed | None, event: Published | None, memory: Memory | None, *, since: float, until: float) -> float:
    """When it finished as far as anybody knows; else the first day on which it was seen, or just now."""
    told = [one.finished for one in (row, event) if one is not None and one.finished is not None]
    if told:
        return told[0]
    if memory is None:
        return until
    # A day is all that is remembered: the part of it that lies in the period stands for it.
    return max(float(memory.first_day * _DAY), since) if memory.first_day >= since // _DAY else 0.0


def compare(found: Iterable[Finding]) -> tuple[dict[str, dict[str, int]], dict[str, list[str]]]:
    """The days and the ids of a `Reconciliation`."""
    days: dict[str, Counter[str]] = {}
    ids: dict[str, list[str]] = {kind: [] for kind in (*CLASSES[1:], "outdated", "unlisted")}
    for one in sorted(found, key=lambda finding: (finding.moment, finding.id)):
        day = days.setdefault(f"{clock.to_datetime(one.moment):%Y-%m-%d}", Counter())
        day[one.kind] += 1
        day["listed"] += one.listed
        if one.kind != BOTH:
            ids[one.kind].append(one.id)
        if one.outdated:
            ids["outdated"].append(one.id)
        if one.published and not one.listed:
            ids["unlisted"].append(one.id)
    order = ("listed", *CLASSES)
    return {day: {name: counted[name] for name in order} for day, counted in days.items()}, ids


def delays(published: Iterable[Published], *, since: float, until: float) -> dict[str, dict[str, float]]:
    """Path -> distribution (nearest rank) of the seconds from finish to publishing, of what finished in the period."""
    seconds: dict[str, list[float]] = {}
    for one in published:
        if one.finished is not None and since <= one.finished <= until:
            # A vendor's clock that is ahead makes no news before its time.
            seconds.setdefault(one.origin, []).append(max(0.0, one.recorded - one.finished))
    return {path: _distribution(sorted(values)) for path, values in sorted(seconds.items())}


def _distribution(ordered: Sequence[float]) -> dict[str, float]:
    def rank(share: float) -> float:
        return round(ordered[math.ceil(share * len(ordered)) - 1], 3)

    return {"count": len(ordered), "p50": rank(0.5), "p95": rank(0.95), "max": rank(1.0)}
