"""Which node of a cluster holds which slots, as its nodes report."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import redis
from redis.exceptions import ClusterDownError

from bridge.errors import clip

__all__ = ["LOST", "SLOTS", "Address", "SlotMap", "parse_slots"]

#: The number of slots of every cluster.
SLOTS = 16_384
#: What a node that is away looks like.
LOST = (redis.ConnectionError, redis.TimeoutError)
#: Host and port of a node.
Address = tuple[str, int]


class _Range(NamedTuple):
    start: int
    end: int
    primary: Address


class SlotMap:
    """The primaries of a cluster. Thread-safe; it connects when it is first asked."""

    def __init__(self, hosts: Sequence[Address], make_client: Callable[[Address], redis.Redis]) -> None:
        """`hosts`: nodes to ask first. `make_client`: a client with a short time-out and no retries, used once."""
        self._hosts, self._make_client = tuple(hosts), make_client
        #: First slots of the ranges, and the ranges: replaced together.
        self._map: tuple[tuple[int, ...], tuple[_Range, ...]] = (), ()
        self._known: tuple[Address, ...] = ()
        #: Changes whenever the map is read.
        self.version = 0

    def primary(self, slot: int) -> Address:
        """The node that holds the slot. Raises the errors of redis-py, `ClusterDownError` if none does."""
        if (holder := self.holder(slot)) is None:
            raise ClusterDownError(f"the cluster serves no slot {slot}")
        return holder

    def holder(self, slot: int) -> Address | None:
        """The same, but None if none does."""
        if not self.version:
            self.refresh(0)
        starts, ranges = self._map
        place = bisect_right(starts, slot) - 1
        return ranges[place].primary if place >= 0 and slot <= ranges[place].end else None

    def primaries(self) -> tuple[Address, ...]:
        """All nodes that hold slots, in the order of their slots. Raises the errors of redis-py."""
        if not self.version:
            self.refresh(0)
        return tuple(dict.fromkeys(span.primary for span in self._map[1]))

    def ranges(self) -> tuple[tuple[int, int, Address], ...]:
        """(first slot, last slot, primary), by slot. Raises the errors of redis-py."""
        if not self.version:
            self.refresh(0)
        return self._map[1]

    def refresh(self, version: int, *, first: Address | None = None, suspect: Address | None = None) -> None:
        """Read the map again, unless it was read since it had this version. Raises the errors of redis-py.

        `first`, `suspect`: the nodes to ask first and last.
        """
        # Without a lock: one would be made before gevent replaces locks. Threads that ask at once get the same.
        if self.version != version:
            return
        ranges, self._known = self._ask(first, suspect)
        self._map = tuple(span.start for span in ranges), ranges
        self.version += 1

    def _ask(self, first: Address | None, suspect: Address | None) -> tuple[tuple[_Range, ...], tuple[Address, ...]]:
        failure: redis.RedisError | None = None
        order = dict.fromkeys((*((first,) if first else ()), *self._known, *self._hosts))
        for address in sorted(order, key=lambda node: node == suspect):
            client: Any = self._make_client(address)
            try:
                return parse_slots(client.execute_command("CLUSTER SLOTS"), address)
            except redis.RedisError as error:
                # A wrong password or a server without a cluster is an answer that a dead node must not hide.
                if failure is None or isinstance(error, redis.ResponseError | redis.AuthenticationError):
                    failure = error
            finally:
                client.close()
        if isinstance(failure, redis.ResponseError) and "cluster support disabled" in str(failure):
            raise ClusterDownError("this server is not a node of a cluster. Remedy: write redis:// for a single server")
        if type(failure) in LOST:
            first_host, port = next(iter(order))
            raise redis.ConnectionError(
                f"none of {len(order)} nodes of the cluster answers, such as {clip(first_host, 60)}:{port}. "
                "Remedy: start them, or correct the hosts"
            ) from failure
        raise failure or redis.ConnectionError("no node of the cluster is known")


def parse_slots(rows: Sequence[Any], asked: Address) -> tuple[tuple[_Range, ...], tuple[Address, ...]]:
    """(ranges by slot, all nodes) of the answer to `CLUSTER SLOTS`; an empty host means the node asked."""
    ranges, known = [], []
    for start, end, *nodes in rows:
        addresses = [(_text(host) or asked[0], int(port)) for host, port, *_ in nodes]
        ranges.append(_Range(int(start), int(end), addresses[0]))
        known += addresses
    if not ranges:
        raise ClusterDownError(
            f"the cluster of {clip(asked[0])}:{asked[1]} serves no slots. Remedy: give it some (CLUSTER ADDSLOTSRANGE)"
        )
    return tuple(sorted(ranges)), tuple(dict.fromkeys(known))


def _text(host: bytes | str | None) -> str:
    return host.decode() if isinstance(host, bytes) else host or ""
