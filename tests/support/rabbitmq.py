"""RabbitMQ of the distribution: nodes that form a cluster; their directories, ports and names touch no others."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amqp.exceptions import InternalError
from kombu import Connection, Exchange, Queue

from bridge.config import queues
from tests.support.servers import need_program
from tests.support.waiting import until

__all__ = ["NodeNames", "RabbitCluster", "RabbitNode"]

#: What a node needs for a few messages, so that three of them fit on a small machine.
_SMALL = "+S 1:1 +SDcpu 1:1 +SDio 2 +sbwt none +sbwtdcpu none +sbwtdio none +P 65536 +t 1048576"
#: Not the wrappers on the PATH: they change the user in a session of its own, where nobody could end it.
_PROGRAMS = "/usr/lib/rabbitmq/bin"
#: Somebody else may take a free port before epmd uses it.
_TRIES = 5


def _installation(home: Path) -> Path:
    """RabbitMQ without its plugins: a node looks for each of a thousand modules in the folders of all of them first,
    which is half the work of its start. Returns the folder of the scripts.
    """
    original = Path(need_program(f"{_PROGRAMS}/rabbitmq-server", package="rabbitmq-server")).resolve().parents[1]
    (home / "plugins").mkdir(parents=True)
    for library in (original / "plugins").iterdir():
        if library.name.startswith("rabbitmq_prelaunch") or not library.name.startswith("rabbitmq_"):
            (home / "plugins" / library.name).symlink_to(library)
    for folder in ("sbin", "escript"):
        (home / folder).symlink_to(original / folder)
    return home / "sbin"


def _binary(text: str) -> str:
    """An Erlang binary of these characters, none of which is a quotation mark."""
    return '<<"{}">>'.format(text.replace("\\", "\\\\"))


class NodeNames:
    """Erlang's mapper of names to ports (epmd), a child process: one that a node starts outlives all nodes."""

    def __init__(self) -> None:
        program = need_program("epmd", package="erlang-base")
        for _ in range(_TRIES):
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
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
    """A node. `first`: the running node whose cluster it joins at its first start."""

    def __init__(self, home: Path, names: NodeNames, first: RabbitNode | None = None) -> None:
        self.name = f"test{home.name}@localhost"
        self.port = 0
        self._home = home
        scripts = _installation(home / "installation")
        (home / "enabled_plugins").write_text("[].\n")
        # Nodes of one cluster have one cookie.
        cookie = home / ".erlang.cookie"
        cookie.write_text("attemptbridgetests")
        cookie.chmod(0o400)
        self._settings = "log.console = true\n"
        if first:
            self._settings += (
                "cluster_formation.peer_discovery_backend = classic_config\n"
                f"cluster_formation.classic_config.nodes.1 = {first.name}\n"
            )
        self._environment = {
            **os.environ,
            # With its name given to Erlang, it starts no second Erlang to find out whether epmd runs.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_SMALL} -sname {self.name}",
            "RABBITMQ_SCRIPTS_DIR": str(scripts),
            "HOME": str(home),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "ERL_EPMD_PORT": str(names.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self.start()

    def start(self, port: int = 0) -> None:
        """Start it, also again after `kill`, at a port that it finds free if none is given; `wait` follows."""
        (self._home / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\n{self._settings}")
        with (self._home / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [f"{_PROGRAMS}/rabbitmq-server"],
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
        """Until it serves clients."""
        until(lambda: "completed with" in self.output or self.process.poll() is not None)
        assert self.process.poll() is None, self.output[-2000:]
        self.port = int(self.evaluate("[#{port := Port}] = maps:values(ranch:info()), Port"))

    def evaluate(self, expression: str) -> str:
        """The value of an Erlang expression at this node: `rabbitmqctl eval`, but it starts no Erlang of its own."""
        answer = self._run(
            need_program("erl_call", package="erlang-base"),
            "-e",
            "-timeout",
            "60",
            "-sname",
            self.name,
            text=f"{expression}.\n",
        )
        assert answer.startswith("{ok, "), answer
        return answer.strip().removeprefix("{ok, ").removesuffix("}")

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` at this node; returns its output."""
        return self._run(f"{_PROGRAMS}/rabbitmqctl", "--quiet", *arguments)

    def _run(self, *command: str, text: str = "") -> str:
        return subprocess.run(
            command, env=self._environment, check=True, capture_output=True, timeout=60, text=True, input=text
        ).stdout

    def connections(self) -> set[str]:
        """What Erlang calls the connections of clients."""
        return set(
            re.findall(r"<[\d.]+>", self.evaluate("[pid_to_list(Pid) || Pid <- rabbit_networking:connections()]"))
        )

    def permit(self, user: str, *patterns: str, virtual_host: str = "/") -> None:
        """What a user may configure, write and read."""
        self._users("set_permissions", user, virtual_host, *patterns, "tests")

    def permit_topics(self, user: str, exchange: str, *patterns: str) -> None:
        """Which routing keys of a topic exchange a user may write and read."""
        self._users("set_topic_permissions", user, "/", exchange, *patterns, "tests")

    def _users(self, function: str, *arguments: str) -> None:
        written = ", ".join(_binary(argument) for argument in arguments)
        self.evaluate(f"ok = rabbit_auth_backend_internal:{function}({written})")

    @contextmanager
    def user(self, name: str, *patterns: str) -> Iterator[None]:
        """A user whose password is the name, with permissions to configure, write and read."""
        self._users("add_user", name, name, "tests")
        if patterns:
            self.permit(name, *patterns)
        try:
            yield
        finally:
            self._users("delete_user", name, "tests")

    @contextmanager
    def alarm(self) -> Iterator[None]:
        """It has too little memory, and blocks those who publish."""
        self.evaluate("ok = vm_memory_monitor:set_vm_memory_high_watermark(0.000001)")
        until(lambda: self.evaluate("rabbit_alarm:get_alarms()") != "[]")
        try:
            yield
        finally:
            self.evaluate("ok = vm_memory_monitor:set_vm_memory_high_watermark(0.6)")

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
            first = RabbitNode(home / "0", self._names)
            self.nodes.append(first)
            first.wait()
            self.nodes += (RabbitNode(home / str(number), self._names, first) for number in (1, 2))
            for node in self.nodes[1:]:
                node.wait()
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
            queue = f'rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, {_binary(name)}))'
            info = leader.evaluate(f"{{ok, Queue}} = {queue}, rabbit_amqqueue:info(Queue, [leader, members])")
            info = info.replace("'", "")
            return f"{{leader, {leader.name}}}" in info and all(
                info.count(node.name) == 1 + (node is leader) for node in self.nodes
            )

        until(declared)

    def close(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.kill()
        self._names.close()
