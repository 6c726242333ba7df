"""A primary whose replica lags, freezes or is promoted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.waiting import until

__all__ = ["ReplicatedServer", "held_back", "replicated"]


class ReplicatedServer:
    """`primary` and `replica`, both with fsync always; between them a proxy that can hold the stream back."""

    def __init__(self, directory: Path) -> None:
        self.primary = Server(directory / "primary", "--repl-diskless-sync-delay", "0")
        self._proxy = Proxy("127.0.0.1", self.primary.port)
        self.replica = Server(directory / "replica", "--replicaof", f"127.0.0.1 {self._proxy.port}")
        self.follows()

    def follows(self) -> None:
        """Wait until the replica has everything."""
        with self.primary.client() as primary:
            until(lambda: primary.set("here", "") and cast("int", primary.wait(1, 1000)) >= 1)
        until(lambda: self.replica.replication().get("master_link_status") == "up")

    def lag(self) -> None:
        """From now on nothing reaches the replica, whose connection stays."""
        self._proxy.mode = "hold_down"

    def catch_up(self) -> None:
        self._proxy.mode = "pass"
        self.follows()

    def promote(self) -> None:
        """The primary is killed; the replica takes over with what it has."""
        self._proxy.mode = "blackhole" if self._proxy.mode == "hold_down" else self._proxy.mode
        self.primary.kill9()
        with self.replica.client() as client:
            client.replicaof("NO", "ONE")

    def close(self) -> None:
        self.replica.close()
        self._proxy.close()
        self.primary.close()


def held_back(primary: Server) -> int:
    """Bytes that a primary has for its replicas and could not hand to the kernel: for the one that has most of it."""
    with primary.client() as client:
        replicas = client.client_list(_type="replica")
    assert replicas, "the primary has lost its replicas"
    return min(int(replica["omem"]) for replica in replicas)


@contextmanager
def replicated(directory: Path) -> Iterator[ReplicatedServer]:
    servers = ReplicatedServer(directory)
    try:
        yield servers
    finally:
        servers.close()
