"""A real cluster of state servers: primaries, replicas, and what operators and faults do to them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import redis

from bridge.state import keys
from bridge.state.cluster.client import ClusterClient
from bridge.state.cluster.command_keys import slot_of
from bridge.state.cluster.slot_map import Address
from tests.support.servers import Server
from tests.support.waiting import until

__all__ = ["Cluster", "TestClusterClient", "running_cluster"]

_SLOTS = 16384
#: Commands that a test sends to "the" server and means for every node.
_EVERYWHERE = ("FLUSHALL", "FLUSHDB", "KEYS", "DBSIZE", "CONFIG SET")


class Cluster:
    """`nodes[:primaries]` hold the slots in equal ranges, the others are their replicas in the same order."""

    def __init__(self, directory: Path, *, primaries: int = 3, replicas: int = 0, options: Sequence[str] = ()) -> None:
        """`replicas`: of each primary. `options`: of the servers."""
        self._primaries = primaries
        self.nodes: list[Server] = []
        try:
            for _ in range(primaries * (1 + replicas)):
                self._start(directory, options)
            self._form()
        except BaseException:
            self.close()
            raise

    def _start(self, directory: Path, options: Sequence[str]) -> None:
        self.nodes.append(
            Server(
                directory / f"node-{len(self.nodes)}",
                *("--cluster-enabled", "yes"),
                *("--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"),
                *("--repl-diskless-sync-delay", "0", *options),
                has_bus=True,
            )
        )

    @property
    def hosts(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", node.port) for node in self.nodes]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def client(self, *, retries: int = 0, socket_timeout: float = 10) -> TestClusterClient:
        """A client for tests: see `TestClusterClient`."""
        options = {"socket_timeout": socket_timeout, "socket_connect_timeout": 2}
        return TestClusterClient(self.hosts, options, retries=retries)

    def holder(self, key: str) -> Server:
        """The node that holds the slot of a key, by the nodes' own word."""
        for node in self.nodes:
            if node.process.poll() is None:
                for start, end, (_, port, *_), *_ in self._ask(node, "CLUSTER SLOTS"):
                    if start <= slot_of(key.encode()) <= end:
                        return next(holder for holder in self.nodes if holder.port == port)
        raise AssertionError(f"no node holds {key}")

    def apart_from(self, source: str, partitions: int) -> tuple[Server, set[int]]:
        """A primary that holds partitions, and nothing of the source; which they are."""
        held = defaultdict(set)
        for partition in range(partitions):
            held[self.holder(keys.journal(partition))].add(partition)
        of_source = self.holder(keys.watch(source))
        return next((node, its_partitions) for node, its_partitions in held.items() if node is not of_source)

    def node_id(self, node: Server) -> str:
        return cast("bytes", self._ask(node, "CLUSTER MYID")).decode()

    def other_than(self, key: str) -> Server:
        """Some primary that does not hold the key."""
        holder = self.holder(key)
        return next(node for node in self.nodes[: self._primaries] if node is not holder)

    def replica_of(self, primary: Server) -> Server:
        """Its first replica, by its own word."""
        port = primary.replication()["slave0"]["port"]
        return next(node for node in self.nodes if node.port == port)

    def take_over(self, replica: Server) -> None:
        """It becomes the primary without a vote, as an operator decides where no majority is left."""
        self._ask(replica, "CLUSTER FAILOVER", "TAKEOVER")
        until(lambda: replica.replication().get("role") == "master")

    def bring_back(self, node: Server) -> None:
        """A primary that was killed or paused, and replaced, comes back as a replica that has everything."""
        if node.process.poll() is not None:
            node.start()
        until(lambda: node.replication().get("master_link_status") == "up")

    def give_up(self, key: str) -> None:
        """From now on no node has the slot of a key."""
        for node in self.nodes:
            self._ask(node, "CLUSTER", "DELSLOTS", slot_of(key.encode()))

    def is_well(self) -> bool:
        """Whether every node finds the cluster complete."""
        return all(
            info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(_SLOTS)
            for info in map(self._info, self.nodes)
        )

    def begin_move(self, key: str, target: Server) -> None:
        """The slow move of a slot begins: keys that are not there yet are made at the target."""
        source, slot = self.holder(key), slot_of(key.encode())
        self._ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(source))
        self._ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(target))

    def ports(self, node: Server) -> set[int]:
        """Those that a node names for the holders of all slots."""
        return {port for _, _, (_, port, *_), *_ in self._ask(node, "CLUSTER SLOTS")}

    def names(self, key: str, node: Server) -> list[bytes]:
        """Up to 1,000 keys of the slot at a node."""
        return cast("list[bytes]", self._ask(node, "CLUSTER", "GETKEYSINSLOT", slot_of(key.encode()), 1000))

    def move_keys(self, source: Server, target: Server, names: Iterable[str | bytes]) -> None:
        """Some keys of a slot that is moving move, in one step. Raises `redis.ResponseError` (BUSYKEY) if they are at
        the target too."""
        self._ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)

    def give_up_move(self, key: str) -> None:
        """The slot stays where it is; what has moved out of it is where no client looks."""
        for node in self.nodes[: self._primaries]:
            self._ask(node, "CLUSTER", "SETSLOT", slot_of(key.encode()), "STABLE")

    def end_move(self, key: str, source: Server, target: Server, *, first: bytes = b"", pause: float = 0.0) -> None:
        """Its keys move one by one, those that begin with `first` before all, then the slot has moved.

        `pause`: after each of those, seconds.
        """
        slot = slot_of(key.encode())
        while names := self.names(key, source):
            for name in sorted(names, key=lambda name: not name.startswith(first)):
                self.move_keys(source, target, [name])
                time.sleep(pause if name.startswith(first) else 0)
        for node in (target, source, *self.nodes[: self._primaries]):
            self._ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.node_id(target))

    def move(self, key: str, target: Server) -> None:
        """Move a slot at once, as Valkey 9 does it."""
        source, slot = self.holder(key), slot_of(key.encode())
        self._ask(source, *("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.node_id(target)))
        until(lambda: self.holder(key) is target)

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def _form(self) -> None:
        share = -(-_SLOTS // self._primaries)
        for number, node in enumerate(self.nodes):
            self._ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < self._primaries:
                last = min((number + 1) * share, _SLOTS) - 1
                self._ask(node, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
            if number:
                self._ask(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)
        for node in self.nodes:
            until(lambda node=node: self._info(node)["cluster_known_nodes"] == str(len(self.nodes)))
        for number, node in enumerate(self.nodes[self._primaries :]):
            primary = self.node_id(self.nodes[number % self._primaries])
            until(lambda node=node, primary=primary: self._replicate(node, primary))
        for node in self.nodes:
            until(lambda node=node: self._info(node)["cluster_state"] == "ok")
        for node in self.nodes[self._primaries :]:
            until(lambda node=node: node.replication().get("master_link_status") == "up")

    def _replicate(self, node: Server, primary: str) -> bool:
        try:
            self._ask(node, "CLUSTER", "REPLICATE", primary)
        except redis.ResponseError:
            return False  # it does not know that node yet
        return True

    def _info(self, node: Server) -> dict[str, str]:
        answer = self._ask(node, "CLUSTER INFO")
        if isinstance(answer, dict):
            return cast("dict[str, str]", answer)
        return dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)

    @staticmethod
    def _ask(node: Server, *command: object) -> Any:
        with node.client(socket_timeout=5) as client:
            return client.execute_command(*cast("tuple[Any, ...]", command))


class TestClusterClient(ClusterClient):
    """Sends what tests ask of "the" server to every node, such as FLUSHALL."""

    __test__ = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: Node -> what stands in front of it.
        self.detours: dict[Address, Address] = {}

    def node(self, address: Address) -> redis.Redis:
        return super().node(self.detours.get(address, address))

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if str(args[0]).upper() in _EVERYWHERE:
            answers = [node.execute_command(*args, **options) for node in self.primaries()]
            if isinstance(answers[0], list):
                return [item for answer in answers for item in answer]
            return sum(answers) if isinstance(answers[0], int) and not isinstance(answers[0], bool) else answers[0]
        return super().execute_command(*args, **options)


@contextmanager
def running_cluster(directory: Path, **how: Any) -> Iterator[Cluster]:
    """A cluster that is closed in the end."""
    cluster = Cluster(directory, **how)
    try:
        yield cluster
    finally:
        cluster.close()
