"""What a number of attempts a day needs: memory, disk and cores, by retention. Pure; each constant names its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any

from bridge.config.model import Retention
from bridge.text import duration_text

__all__ = ["ONE_SERVER_BYTES", "Capacity", "Cluster", "Load", "Stored", "capacity", "disk", "gigabytes", "maxmemory"]

_DAY, _HOUR = 86_400.0, 3600.0
#: Bytes of state server memory. An event of ClassMarker takes 1,280 with its place in the index, one of a vendor with
#: long results up to this; a stored request takes 860, up to this. `tests/journal/test_capacity.py` measures both.
EVENT_BYTES = REQUEST_BYTES = 1800
#: docs/benchmarks.md, `memory`: at most 48 for each remembered attempt.
ATTEMPT_BYTES = 48
#: docs/benchmarks.md, `settled`: 98, and up to 128 of the beginning of the receiver's answer.
DELIVERY_BYTES = 226
#: docs/benchmarks.md, `idle`: all processes of a bridge with a source of each of five vendors.
PROCESS_BYTES = 353_000_000
#: Alert at 70 % of `maxmemory`: docs/operations.md, "A state server of your own".
_FULL = 0.7
#: An append-only file is rewritten when it is twice as large as after the last time; the new one is written next to it.
_FILE_COPIES = 3
#: What one server should hold: it reads all of it before it answers after a restart, and copies it with each replica.
ONE_SERVER_BYTES = 32_000_000_000
#: Of a cluster: with fewer, the others cannot agree on which one replaces one that is away.
_LEAST_PRIMARIES = 3
#: Partitions for each primary, up to a maximum in all: one more primary can then take some from each.
_PARTITIONS_EACH, _MOST_PARTITIONS = 4, 64
#: CPU seconds for each attempt or delivery, docs/benchmarks.md: `receive`; "Counts and index", a webhook that is
#: published alone (in a group each takes less); `poll`; `push`, more than for any other transport.
_SECONDS = {"web": 559e-6, "state server": 255e-6, "worker": 112e-6, "dispatch": 199e-6}
#: docs/benchmarks.md, `idle`: cores of all processes without any attempt.
_IDLE_CORES = 0.05
#: Half of each core is left free at the peak, so that webhooks do not wait.
_BUSY = 0.5
#: What is shortened first: kind -> key of bridge.yaml and the least that is advised, seconds.
_SHORTENED = {
    "events": ("retention.events", 2 * _DAY),
    "requests": ("retention.requests", _DAY),
    "deliveries": ("retention.deliveries", _DAY),
    "remembered attempts": ("remember_attempts", 30 * _DAY),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load to plan for. `peak_share`: share of a day's attempts in its busiest hour; 1/24 is a level day."""

    per_day: int
    peak_share: float = 0.25
    #: Each gets every event.
    subscriptions: int = 1
    retention: Retention = field(default_factory=Retention)
    #: Seconds.
    remember_attempts: float = 180 * _DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the state server holds of one kind: items of `each` bytes, for `kept` seconds."""

    kind: str
    kept: float
    count: int
    each: int
    #: Items for each attempt: one, or one for each subscription.
    number: int = 1

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * self.each

    @property
    def for_one_a_day(self) -> float:
        """Bytes that one attempt a day brings."""
        return self.kept / _DAY * self.number * self.each


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The smallest cluster that is enough. `state_bytes`: memory that each primary uses for its data."""

    primaries: int
    #: Each primary has the same number of them.
    partitions: int
    state_bytes: int

    def to_json(self) -> dict[str, int]:
        """Bytes of each primary; each of its replicas needs as much."""
        return {
            "primaries": self.primaries,
            "partitions": self.partitions,
            "state_bytes": self.state_bytes,
            "maxmemory_bytes": maxmemory(self.state_bytes),
            "disk_bytes": disk(self.state_bytes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Bytes, cores at the peak, and what to do about it."""

    load: Load
    stored: tuple[Stored, ...]
    cores: Mapping[str, float]
    advice: tuple[str, ...]

    @property
    def peak(self) -> float:
        """Attempts per second in the busiest hour."""
        return self.load.per_day * self.load.peak_share / _HOUR

    @property
    def state_bytes(self) -> int:
        """Memory that the state server uses for its data."""
        return sum(item.size for item in self.stored)

    @property
    def cluster(self) -> Cluster | None:
        """None if one state server is enough, or no cluster is."""
        return _cluster(self.state_bytes)

    @property
    def all_cores(self) -> int:
        """Whole cores for all processes and the state server, half of each left free at the peak."""
        return ceil((sum(self.cores.values()) + _IDLE_CORES) / _BUSY)

    @property
    def most_per_day(self) -> int:
        """Attempts a day up to which one state server is enough with these retentions."""
        return floor(ONE_SERVER_BYTES / sum(item.for_one_a_day for item in self.stored))

    def to_json(self) -> dict[str, Any]:
        """Bytes and seconds as whole numbers, cores with three digits."""
        return {
            "per_day": self.load.per_day,
            "peak_per_second": round(self.peak, 2),
            "stored": [
                {"kind": item.kind, "kept_seconds": round(item.kept), "count": item.count, "bytes": item.size}
                for item in self.stored
            ],
            "state_bytes": self.state_bytes,
            "maxmemory_bytes": maxmemory(self.state_bytes),
            "process_bytes": PROCESS_BYTES,
            "disk_bytes": disk(self.state_bytes),
            "cores_at_peak": {name: round(cores, 3) for name, cores in self.cores.items()},
            "cores": self.all_cores,
            "one_server_per_day": self.most_per_day,
            "cluster": None if self.cluster is None else self.cluster.to_json(),
            "advice": list(self.advice),
        }


def capacity(load: Load) -> Capacity:
    """What the load needs."""
    stored = tuple(_stored(load))
    rate = load.per_day * load.peak_share / _HOUR
    factor = {"dispatch": load.subscriptions}
    cores = {name: rate * seconds * factor.get(name, 1) for name, seconds in _SECONDS.items()}
    return Capacity(load=load, stored=stored, cores=cores, advice=tuple(_advice(load, stored)))


def maxmemory(state_bytes: int) -> int:
    """The `maxmemory` of a state server that uses this many bytes, with the alert at 70 % of it."""
    return ceil(state_bytes / _FULL)


def disk(state_bytes: int) -> int:
    """Most bytes that the append-only file of such a state server takes."""
    return state_bytes * _FILE_COPIES


def gigabytes(size: float) -> str:
    """Bytes as `7.6 GB`, from 10 GB on without decimals, rounded up; below 0.1 GB in MB."""
    if size < 1e8:
        return f"{ceil(size / 1e6)} MB"
    return f"{ceil(size / 1e8) / 10:g} GB" if size < 1e10 else f"{ceil(size / 1e9):,} GB"


def _stored(load: Load) -> Iterator[Stored]:
    kept, a_second = load.retention, load.per_day / _DAY
    for kind, seconds, each, number in (
        ("events", kept.events, EVENT_BYTES, 1),
        ("requests", kept.requests, REQUEST_BYTES, 1),
        ("remembered attempts", load.remember_attempts, ATTEMPT_BYTES, 1),
        ("deliveries", kept.deliveries, DELIVERY_BYTES, load.subscriptions),
    ):
        yield Stored(kind=kind, kept=seconds, count=ceil(a_second * seconds * number), each=each, number=number)


def _cluster(size: int) -> Cluster | None:
    primaries = max(_LEAST_PRIMARIES, ceil(size / ONE_SERVER_BYTES))
    if size <= ONE_SERVER_BYTES or primaries > _MOST_PARTITIONS:
        return None
    each = min(_PARTITIONS_EACH, _MOST_PARTITIONS // primaries)
    return Cluster(primaries=primaries, partitions=primaries * each, state_bytes=ceil(size / primaries))


def _advice(load: Load, stored: tuple[Stored, ...]) -> Iterator[str]:
    size = sum(item.size for item in stored)
    if size <= ONE_SERVER_BYTES:
        yield f"one state server is enough: {gigabytes(size)} of at most {gigabytes(ONE_SERVER_BYTES)}"
        return
    remedy = "a cluster, or keep less" if _cluster(size) else "keep less"
    yield (
        f"too much for one state server: {gigabytes(size)}, at most {gigabytes(ONE_SERVER_BYTES)}. Remedy: {remedy}; "
        "a longer history belongs in the tables of an sql subscription (docs/outputs-sql.md)"
    )
    excess = size - ONE_SERVER_BYTES
    for item in sorted(stored, key=lambda item: list(_SHORTENED).index(item.kind)):
        name, least = _SHORTENED[item.kind]
        kept = _shorter(item, excess, least)
        if kept < item.kept:
            yield f"set bridge.{name}: {duration_text(kept)} (now {duration_text(item.kept)})"
            excess -= floor(item.size * (1 - kept / item.kept))
    if excess > 0:
        remedy = (
            "a cluster" if _cluster(ONE_SERVER_BYTES + excess) else "several bridges, each with some of the sources"
        )
        yield f"that is still {gigabytes(excess)} too much. Remedy: {remedy}"


def _shorter(item: Stored, excess: int, least: float) -> float:
    """Seconds, in whole days: as long as possible without the excess, but at least `least`."""
    if excess <= 0 or item.kept <= least or not item.size:
        return item.kept
    return max(least, floor(item.kept * (1 - excess / item.size) / _DAY) * _DAY)
