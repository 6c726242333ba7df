"""RabbitMQ of the distribution: nodes that form a cluster; their directories, ports and names touch no others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.support.servers import need_program
from tests.support.waiting import until

__all__ = ["RabbitCluster", "RabbitNode", "free_ports", "node_environment"]

#: What a node needs for a few messages, so that three of them fit on a small machine.
_SMALL = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +SDcpu 1:1 +SDio 2 +sbwt none +sbwtdcpu none +sbwtdio none"}


def node_environment(home: Path, name: str, distribution: int, mapper: int) -> dict[str, str]:
    """The variables of a node that keeps all its files below `home`; `mapper`: see `RabbitNode`."""
    return {
        "HOME": str(home),
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }


class RabbitNode:
    """A running node."""

    def __init__(self, home: Path, port: int, distribution: int, mapper: int) -> None:
        """`mapper`: port of the mapper of names, one for all nodes of a cluster; the first node starts it."""
        self.url, self.name, self.mapper = f"amqp://guest:guest@127.0.0.1:{port}//", f"test{port}@localhost", mapper
        home.mkdir(parents=True, exist_ok=True)
        (home / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\nlog.console = true\n")
        (home / "plugins").write_text("[].\n")
        # Nodes of one cluster have one cookie.
        cookie = home / ".erlang.cookie"
        cookie.write_text("attemptbridgetests")
        cookie.chmod(0o400)
        self._home = home
        self._environment: Mapping[str, str] = {
            **os.environ,
            **_SMALL,
            **node_environment(home, self.name, distribution, mapper),
        }
        # Not the wrapper on the PATH: it changes the user in a session of its own, where nobody could end it.
        program = need_program("/usr/lib/rabbitmq/bin/rabbitmq-server")
        with (home / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [program], env=self._environment, stdout=output, stderr=output, start_new_session=True
            )

    def wait(self) -> None:
        """Until it serves clients."""
        output = self._home / "output"
        until(lambda: b"completed with" in output.read_bytes() or self.process.poll() is not None)
        assert self.process.poll() is None, output.read_text()[-2000:]

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` at this node; returns its output."""
        command = [need_program("/usr/lib/rabbitmq/bin/rabbitmqctl"), "--quiet", *arguments]
        tool = {name: value for name, value in self._environment.items() if name != "RABBITMQ_DIST_PORT"}
        return subprocess.run(command, env=tool, check=True, capture_output=True, timeout=60, text=True).stdout

    def kill(self) -> None:
        """As a machine that fails."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    def end_mapper(self) -> None:
        """After the last node. The mapper refuses to end until it has noticed that."""

        def ended() -> bool:
            # The request to end; `epmd -kill` would start a process in a test without the mark for it.
            try:
                with socket.create_connection(("127.0.0.1", self.mapper)) as epmd:
                    epmd.sendall(b"\0\1k")
                    return epmd.recv(2) == b"OK"
            except OSError:
                return True

        until(ended)


def free_ports(number: int) -> list[int]:
    """Ports that nobody uses."""
    with ExitStack() as free:
        return [free.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)]


class RabbitCluster:
    """Three nodes; the second and the third join the first."""

    def __init__(self, home: Path) -> None:
        mapper, *ports = free_ports(7)
        self.nodes = [
            RabbitNode(home / str(number), ports[2 * number], ports[2 * number + 1], mapper) for number in range(3)
        ]
        try:
            for node in self.nodes:
                node.wait()
            for node in self.nodes[1:]:
                node.control("stop_app")
                node.control("join_cluster", self.nodes[0].name)
                node.control("start_app")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.kill()
        self.nodes[0].end_mapper()
