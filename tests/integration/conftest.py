"""Fixtures of tests with real processes: parts of the bridge at a vendor, a RabbitMQ broker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.rabbitmq import node_environment
from tests.support.servers import Server, need_program
from tests.support.waiting import until
from tests.support.workers import ListingVendor, listing_vendor, running_parts


@pytest.fixture
def vendor() -> Iterator[ListingVendor]:
    with listing_vendor() as server:
        yield server


@pytest.fixture
def start_part(
    starts_processes: None, own_server: Server, vendor: ListingVendor, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `worker`, `beat` or `dispatch`; whatever still runs at the end of the test is killed."""
    with running_parts(tmp_path, own_server.url, own_server.broker_url, vendor.url) as start:
        yield start


@pytest.fixture(scope="session")
def rabbitmq(starts_servers: None, starts_processes: None, rabbitmq_server: tuple[str, Callable[..., str]]) -> str:
    """The address of the session's own broker."""
    return rabbitmq_server[0]


@pytest.fixture
def rabbitmqctl(rabbitmq_server: tuple[str, Callable[..., str]]) -> Callable[..., str]:
    """Runs `rabbitmqctl` with these arguments at the session's own broker; returns its output."""
    return rabbitmq_server[1]


@pytest.fixture(scope="session")
def rabbitmq_server(
    starts_servers: None, starts_processes: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Callable[..., str]]]:
    """A broker of our own: its directories, ports and node name touch no other, and it ends with the session."""
    need_program("rabbitmq-server")
    home = tmp_path_factory.mktemp("rabbitmq")
    with ExitStack() as free:
        port, distribution, mapper = (
            free.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)
        )
    (home / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\nlog.console = true\n")
    (home / "plugins").write_text("[].\n")
    environment = {**os.environ, **node_environment(home, f"test{port}@localhost", distribution, mapper)}
    tool = {name: value for name, value in environment.items() if name != "RABBITMQ_DIST_PORT"}

    def control(*arguments: str) -> str:
        program = need_program("/usr/lib/rabbitmq/bin/rabbitmqctl")
        command = [program, "--quiet", *arguments]
        return subprocess.run(command, env=tool, check=True, capture_output=True, timeout=60, text=True).stdout

    # Not the wrapper on the PATH: it changes the user in a session of its own, where nobody could end it.
    program = need_program("/usr/lib/rabbitmq/bin/rabbitmq-server")
    with (home / "output").open("wb") as output:
        process = subprocess.Popen([program], env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        until(lambda: b"completed with" in (home / "output").read_bytes() or process.poll() is not None)
        assert process.poll() is None, (home / "output").read_text()[-2000:]
        yield f"amqp://guest:guest@127.0.0.1:{port}//", control
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        # The request to end; `epmd -kill` would start a process in a test without the mark for it.
        with suppress(OSError), socket.create_connection(("127.0.0.1", mapper)) as epmd:
            epmd.sendall(b"\0\1k")
            epmd.recv(2)
