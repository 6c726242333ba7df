"""A primary with two replicas, and three sentinels that replace it: real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import redis

from tests.support.servers import Server
from tests.support.waiting import until

__all__ = ["MASTER", "Sentinel", "SentinelGroup"]

MASTER = "mymaster"
_SENTINELS, _QUORUM = 3, 2
#: After how long without an answer a primary is replaced: while a test waits for that, and otherwise, when a disk that
#: hangs for a second is no reason. The default is 30 s.
_DOWN_AFTER_MS, _PATIENT_MS = 1000, 60_000
#: The default is 3 min.
_FAILOVER_MS = 5000


class Sentinel(Server):
    """A sentinel; `lines` are added to its configuration."""

    def __init__(self, directory: Path, *lines: str) -> None:
        self._lines = lines
        super().__init__(directory)

    def _arguments(self, binary: str, _extra: tuple[str, ...]) -> list[str]:
        file = self.directory / "sentinel.conf"
        # It writes what it learns into this file, and reads it when it starts again.
        file.write_text("\n".join((f"port {self.port}", "bind 127.0.0.1", f"dir {self.directory}", *self._lines, "")))
        return [binary, str(file), "--sentinel"]


class SentinelGroup:
    """Servers and sentinels; `servers[0]` is the first primary.

    Ready when every sentinel knows the others and both replicas: from then on a failover can begin.
    """

    def __init__(self, directory: Path, *, password: str | None = None) -> None:
        self._password = password
        self._sentinel_password: str | None = None
        self.servers: list[Server] = []
        self.sentinels: list[Sentinel] = []
        try:
            self._start(directory)
        except BaseException:
            self.close()
            raise

    def _start(self, directory: Path) -> None:
        for number in range(3):
            follow = ("--replicaof", f"127.0.0.1 {self.servers[0].port}") if number else ()
            self.servers.append(Server(directory / f"server-{number}", "--repl-diskless-sync-delay", "0", *follow))
        if self._password is not None:
            for server in reversed(self.servers):
                server.client().config_set("masterauth", self._password, "requirepass", self._password)
        watched = f"monitor {MASTER} 127.0.0.1 {self.servers[0].port} {_QUORUM}"
        times = (f"down-after-milliseconds {MASTER} {_PATIENT_MS}", f"failover-timeout {MASTER} {_FAILOVER_MS}")
        login = () if self._password is None else (f"auth-pass {MASTER} {self._password}",)
        for number in range(_SENTINELS):
            lines = (f"sentinel {line}" for line in (watched, *times, *login))
            self.sentinels.append(Sentinel(directory / f"sentinel-{number}", *lines))
        self.wait_until_whole()

    def address(self, database: int, *, credentials: str = "") -> str:
        """As bridge.yaml has it."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{credentials}{hosts}/{MASTER}/{database}"

    def lock_sentinels(self, password: str) -> None:
        """Let them ask everybody for this password."""
        for sentinel in self.sentinels:
            with self._asking(sentinel) as client:
                client.execute_command("SENTINEL", "CONFIG", "SET", "sentinel-pass", password)
                client.execute_command("ACL", "SETUSER", "default", "resetpass", f">{password}")
        self._sentinel_password = password

    def primary(self) -> Server:
        """The server that the first sentinel that runs names."""
        named = next(self._named(), None)
        if named is None:
            raise redis.ConnectionError("no sentinel answers")
        return named

    def wait_until_whole(self) -> None:
        """Wait until a failover may begin: all replicas that run follow the primary, all sentinels know each other and
        these servers, and no failover is under way."""
        until(self._is_whole, seconds=30)

    def wait_for_another(self, than: Server) -> Server:
        """Wait until the sentinels name another primary, and return it."""
        self._replace_after(_DOWN_AFTER_MS)
        until(lambda: any(named is not than for named in self._named()), seconds=30)
        self._replace_after(_PATIENT_MS)
        return until(lambda: (now := self.primary()) is not than and now, seconds=30) or than

    def bring_back(self, killed: Server) -> None:
        """Start a server again, as a replica of the present primary."""
        killed.args += ["--replicaof", f"127.0.0.1 {self.primary().port}"]
        killed.start()

    def close(self) -> None:
        for each in (*self.sentinels, *self.servers):
            each.close()

    def _is_whole(self) -> bool:
        primary = self.primary()
        replicas = [each for each in self.servers if each is not primary and each.process.poll() is None]
        return all(self._follows(replica, primary) for replica in replicas) and all(
            self._knows(sentinel, len(replicas)) for sentinel in self.sentinels
        )

    def _follows(self, replica: Server, primary: Server) -> bool:
        """Whether it has been filled and hears everything; until then it may be elected, and lacks the rest."""
        state = replica.replication(password=self._password)
        return (state.get("master_port"), state.get("master_link_status")) == (primary.port, "up")

    def _knows(self, sentinel: Sentinel, replicas: int) -> bool:
        """Whether it knows the other sentinels and that many replicas, and is at rest."""
        with self._asking(sentinel) as client:
            state = client.sentinel_masters()[MASTER]
            connected = [each for each in client.sentinel_slaves(MASTER) if each["flags"] == "slave"]
        others = len(self.sentinels) - 1
        return state["flags"] == "master" and state["num-other-sentinels"] == others and len(connected) >= replicas

    def _named(self) -> Iterator[Server]:
        """The primary by the word of each sentinel that answers."""
        for sentinel in self.sentinels:
            try:
                with self._asking(sentinel) as client:
                    _, port = cast("tuple[bytes, bytes]", client.sentinel_get_master_addr_by_name(MASTER))
            except redis.RedisError:
                continue
            yield next(server for server in self.servers if server.port == int(port))

    def _replace_after(self, milliseconds: int) -> None:
        for sentinel in self.sentinels:
            if sentinel.process.poll() is None:
                with self._asking(sentinel) as client:
                    client.sentinel_set(MASTER, "down-after-milliseconds", milliseconds)

    def _asking(self, sentinel: Sentinel) -> redis.Redis:
        return redis.Redis(port=sentinel.port, password=self._sentinel_password, socket_timeout=10)
