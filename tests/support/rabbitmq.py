"""RabbitMQ of the distribution: nodes that form a cluster; their directories, ports and names touch no others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from amqp.exceptions import InternalError
from kombu import Connection, Exchange, Queue

from bridge.config import queues
from tests.support.servers import need_program
from tests.support.waiting import until

__all__ = ["NodeNames", "RabbitCluster", "RabbitNode", "free_ports", "node_environment"]

#: What a node needs for a few messages, so that three of them fit on a small machine.
_SMALL = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +SDcpu 1:1 +SDio 2 +sbwt none +sbwtdcpu none +sbwtdio none"}
#: Somebody else may take a free port before it is used.
_TRIES = 5
#: What a node prints whose port somebody else has: that for clients, that for other nodes.
_PORT_IS_TAKEN = ("eaddrinuse", "dist_port_already_used")


def node_environment(home: Path, name: str, distribution: int, mapper: int) -> dict[str, str]:
    """The variables of a node that keeps all its files below `home`; `mapper`: the port of its `NodeNames`."""
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


def free_ports(number: int) -> list[int]:
    """Ports that nobody uses."""
    with ExitStack() as free:
        return [free.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)]


class NodeNames:
    """Erlang's mapper of names to ports (epmd), a child process: one that a node starts outlives all nodes."""

    def __init__(self) -> None:
        program = need_program("epmd")
        for _ in range(_TRIES):
            (self.port,) = free_ports(1)
            self._process = subprocess.Popen([program, "-port", str(self.port), "-address", "127.0.0.1"])
            if until(lambda: self._process.poll() is not None or self._answers()) and self._process.poll() is None:
                return
        raise AssertionError(f"no port for epmd in {_TRIES} tries")

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            # Its request for all names; the answer begins with its port.
            connection.sendall(b"\0\1n")
            return connection.recv(4) == self.port.to_bytes(4, "big")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class RabbitNode:
    """A node. `ports` gives free ones; another program may take them meanwhile."""

    def __init__(self, home: Path, names: NodeNames, ports: Callable[[int], list[int]] = free_ports) -> None:
        self.name = f"test{home.name}@localhost"
        self._home, self._names, self._ports = home, names, ports
        home.mkdir(parents=True, exist_ok=True)
        (home / "plugins").write_text("[].\n")
        # Nodes of one cluster have one cookie.
        cookie = home / ".erlang.cookie"
        cookie.write_text("attemptbridgetests")
        cookie.chmod(0o400)
        self._take_ports()
        self.start()

    def _take_ports(self) -> None:
        self.port, distribution = self._ports(2)
        (self._home / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\nlog.console = true\n"
        )
        self._environment: Mapping[str, str] = {
            **os.environ,
            **_SMALL,
            **node_environment(self._home, self.name, distribution, self._names.port),
        }

    def start(self) -> None:
        """Start it, also again after `kill`; `wait` follows."""
        # Not the wrapper on the PATH: it changes the user in a session of its own, where nobody could end it.
        program = need_program("/usr/lib/rabbitmq/bin/rabbitmq-server")
        with (self._home / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [program],
                # It writes a dump there when it cannot start.
                cwd=self._home,
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has printed, its log among it."""
        return (self._home / "output").read_text(errors="replace")

    @property
    def url(self) -> str:
        return self.address("/")

    def address(self, virtual_host: str) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{virtual_host}"

    def wait(self) -> None:
        """Until it serves clients; on other ports if somebody else has one of its own."""
        for _ in range(_TRIES):
            until(lambda: "completed with" in self.output or self.process.poll() is not None)
            if self.process.poll() is None:
                return
            assert any(text in self.output for text in _PORT_IS_TAKEN), self.output[-2000:]
            self._take_ports()
            self.start()
        raise AssertionError(f"no free ports in {_TRIES} tries")

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


class RabbitCluster:
    """Three nodes; the second and the third join the first."""

    def __init__(self, home: Path) -> None:
        self._names = NodeNames()
        self.nodes: list[RabbitNode] = []
        try:
            self.nodes += (RabbitNode(home / str(number), self._names) for number in range(3))
            for node in self.nodes:
                node.wait()
            for node in self.nodes[1:]:
                node.control("stop_app")
                node.control("join_cluster", self.nodes[0].name)
                node.control("start_app")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The address of all nodes."""
        return ";".join(node.url for node in self.nodes)

    def restart(self) -> None:
        """Start those that do not run."""
        down = [node for node in self.nodes if node.process.poll() is not None]
        for node in down:
            node.start()
        for node in down:
            node.wait()

    def queue_ticks(self, leader: RabbitNode) -> None:
        """The queue of ticks, new and empty, with its leader on this node and a member on each."""
        name = queues.worker_queue(leader.url)

        def declared() -> bool:
            try:
                with Connection(leader.url) as connection:
                    queue = Queue(name, Exchange(""), routing_key=name, queue_arguments=queues.TICKS_ARGUMENTS)
                    bound = queue(connection.default_channel)
                    bound.delete()
                    bound.declare()
            except InternalError:
                # A node that has just come back takes no part yet.
                return False
            # Its leader is where it is declared; a node that is not seen yet gets no member.
            rows = leader.control("list_queues", "name", "leader", "members").splitlines()
            found = [row for row in rows if row.startswith(f"{name}\t{leader.name}\t")]
            return bool(found) and all(node.name in found[0] for node in self.nodes)

        until(declared)

    def close(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.kill()
        self._names.close()
