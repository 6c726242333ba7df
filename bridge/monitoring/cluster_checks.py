"""Where a cluster keeps the partitions, and which moves would even them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import redis

from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from bridge.state import keys
from bridge.state.cluster.client import ClusterClient
from bridge.state.cluster.command_keys import encoded, slot_of
from bridge.state.cluster.slot_map import LOST, SLOTS, Address

__all__ = ["cluster", "coverage", "full_coverage", "placement"]

_FULL_COVERAGE = "cluster-require-full-coverage"
_Ranges = Sequence[tuple[int, int, Address]]


class _Move(NamedTuple):
    partition: int
    source: Address
    target: Address


def cluster(client: redis.Redis, partitions: int) -> Iterator[Finding]:
    """The findings about a cluster; none about a single server. Raises the errors of redis-py."""
    if isinstance(client, ClusterClient):
        ranges = client.map.ranges()
        yield coverage(ranges)
        yield placement(ranges, partitions, _ids(client))
        # Access control may deny CONFIG.
        with suppress(redis.ResponseError):
            setting = cast("dict[str, str]", client.config_get(_FULL_COVERAGE)).get(_FULL_COVERAGE)
            yield from full_coverage(setting)


def full_coverage(setting: str | None) -> Iterator[Finding]:
    """Whether the loss of one server stops the others. `setting`: `cluster-require-full-coverage`."""
    if setting == "yes":
        text, remedy = "yes: while one primary is away, all refuse", f"set {_FULL_COVERAGE} no on every node"
        yield Finding(_FULL_COVERAGE, WARNING, text, remedy)


def coverage(ranges: _Ranges) -> Finding:
    """Whether each slot has a server."""
    missing = SLOTS - sum(end - start + 1 for start, end, _ in ranges)
    if not missing:
        return Finding("slots of the cluster", OK, f"{SLOTS} on {len(_primaries(ranges))} servers")
    return Finding(
        "slots of the cluster",
        FAILURE,
        f"{missing} of {SLOTS} have no server: attempts and sources there are refused",
        "start the servers that held them, or give the slots to others (CLUSTER ADDSLOTSRANGE)",
    )


def placement(ranges: _Ranges, partitions: int, ids: Mapping[Address, str]) -> Finding:
    """How many partitions each primary holds, and the commands that even them out. `ids`: of the nodes."""
    held: dict[Address, list[int]] = {address: [] for address in _primaries(ranges)}
    for partition in range(partitions):
        slot = _slot(partition)
        for start, end, address in ranges:
            if start <= slot <= end:
                held[address].append(partition)
    text = ", ".join(f"{_name(address)}: {len(own)}" for address, own in held.items())
    moves = list(_moves(held))
    if not moves:
        return Finding("partitions on servers", OK, text)
    commands = "; ".join(_command(move, ids) for move in moves)
    remedy = f"run {commands}. The bridge may go on meanwhile. Servers before Valkey 9: SETSLOT and MIGRATE"
    return Finding("partitions on servers", WARNING, f"uneven: {text}", remedy)


def _moves(held: Mapping[Address, list[int]]) -> Iterator[_Move]:
    """Moves until no two primaries differ by more than one partition."""
    counts = {address: list(own) for address, own in held.items()}
    while True:
        most = max(counts, key=lambda address: len(counts[address]))
        least = min(counts, key=lambda address: len(counts[address]))
        if len(counts[most]) - len(counts[least]) <= 1:
            return
        partition = counts[most].pop()
        counts[least].append(partition)
        yield _Move(partition, most, least)


def _command(move: _Move, ids: Mapping[Address, str]) -> str:
    host, port = move.source
    slot, target = _slot(move.partition), ids.get(move.target, f"<id of {_name(move.target)}>")
    return f"valkey-cli -h {host} -p {port} CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {target}"


def _ids(client: ClusterClient) -> dict[Address, str]:
    """The ids of the primaries, except those that are away or do not reveal theirs."""
    ids = {}
    for address in client.map.primaries():
        # Access control may deny CLUSTER MYID.
        with suppress(redis.ResponseError, *LOST):
            node: Any = client.reach(address)
            ids[address] = node.execute_command("CLUSTER MYID").decode()
    return ids


def _primaries(ranges: _Ranges) -> list[Address]:
    return list(dict.fromkeys(address for _, _, address in ranges))


def _slot(partition: int) -> int:
    return slot_of(encoded(keys.journal(partition)))


def _name(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
