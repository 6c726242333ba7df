"""Fixtures: a real Redis-compatible server, emptied for each test, and processes. And the marks."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import IO

import pytest
import redis
import structlog
from hypothesis import settings

from bridge.state.embedded_server import EmbeddedServer
from tests.support.cluster import Cluster, running_cluster
from tests.support.commands import Start, Started
from tests.support.loggers import follow_each_configuration, logging_of_its_own
from tests.support.marks import GUARD, SERVER, place_of, places_of, places_of_files, set_marks
from tests.support.measuring import begin, measuring
from tests.support.one_slot import one_slot_each
from tests.support.partitions import default_partitions
from tests.support.postgresql import PostgreSQLServer, running_postgresql
from tests.support.reports import sendable
from tests.support.servers import Server
from tests.support.url_rules import share_url_builders

#: No deadline for one example: a busy machine is no fault. `fast` is for `scripts/test --fast`; `search`, for more
#: examples than one run has time for, is chosen by hand.
settings.register_profile("search", deadline=None, max_examples=500)
settings.register_profile("all", deadline=None, max_examples=50)
settings.register_profile("fast", deadline=None, max_examples=10)
settings.load_profile("all")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell in the background ignores it, and so would everything that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
#: Of tests that do not configure logs. The rich tracebacks of structlog's defaults take seconds each.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback
share_url_builders()
# It reads the metadata of the package for each new connection, which takes as long as all the rest of one.
redis.utils.get_lib_version = cache(redis.utils.get_lib_version)
# Collection makes a million objects that live as long as the process. The garbage collector would read them again and
# again, which takes a tenth of the time of all tests.
gc.disable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--on-cluster", action="store_true", help="tests of stores, over a cluster, with 1 and 6 partitions; no others"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of stores run once in each of their places."""
    on_cluster = metafunc.config.getoption("--on-cluster")
    places = places_of(metafunc.definition, metafunc.fixturenames, on_cluster=on_cluster)
    # What runs over one server alone keeps its name.
    if places not in ([], [SERVER]):
        metafunc.parametrize("state", places, indirect=True, ids=[place.name for place in places])


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Pytest-cov measures from here on."""
    begin(session.config)
    follow_each_configuration()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks are set before `-m` selects. And files are put in their order."""
    for item in items:
        set_marks(item)
    places = places_of_files(items)
    items.sort(key=lambda item: places[item.path])
    if config.getoption("--on-cluster"):
        left = [item for item in items if place_of(item)]
        config.hook.pytest_deselected(items=[item for item in items if not place_of(item)])
        items[:] = left


def pytest_collection_finish() -> None:
    # Without collecting first: that takes half a second in each process, for a few megabytes.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    partitions = (place_of(item) or SERVER).partitions
    with measuring(item), GUARD.watching(item), one_slot_each(), default_partitions(partitions), logging_of_its_own():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[None]:
    """A lone surrogate in the report of a failure would end the whole session: xdist sends UTF-8."""
    return sendable((yield) | {"keywords": {}})


@pytest.fixture(scope="session")
def starts_servers() -> None:
    """What starts a state server requests this: it sets the mark `server`."""


@pytest.fixture(scope="session")
def starts_processes() -> None:
    """What starts any other process requests this: it sets the mark `process`."""


@pytest.fixture(scope="session")
def shared_server(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # A flush to the disk per command would take longer than the tests.
    server = Server(tmp_path_factory.mktemp("server"), "--appendonly", "no")
    yield server
    server.close()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A real server, empty, shared by the session: a test that stops or kills its server uses `own_server`."""
    shared_server.empty()
    return shared_server


@pytest.fixture(scope="session")
def empty_state(shared_server: Server) -> Iterator[Callable[[], redis.Redis]]:
    """Empties the server of the session and gives a client of it; for tests that need many empty servers."""
    client = shared_server.client(single_connection_client=True)

    def empty() -> redis.Redis:
        client.flushall()
        return client

    yield empty
    client.close()


@pytest.fixture
def own_server(starts_servers: None, tmp_path: Path) -> Iterator[Server]:
    """A real server for this test alone."""
    server = Server(tmp_path / "server")
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgresql_server(starts_servers: None, starts_processes: None) -> Iterator[PostgreSQLServer]:
    """A PostgreSQL server of the distribution, shared by the session; it may be restarted."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def state_cluster(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real cluster of three primaries, shared by the session; a test that stops a node has one of its own."""
    with running_cluster(tmp_path_factory.mktemp("cluster"), options=("--appendonly", "no")) as cluster:
        yield cluster


@pytest.fixture
def state(starts_servers: None, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """A client of the empty real server that never repeats a command by itself.

    Of a cluster instead with `--on-cluster`, and also of one in tests marked `cluster_too`.
    """
    if getattr(request, "param", SERVER).on_cluster:
        client: redis.Redis = request.getfixturevalue("state_cluster").client()
        client.flushall()
    else:
        client = redis.Redis.from_url(request.getfixturevalue("server").url, socket_timeout=10)
    yield client
    client.close()


@pytest.fixture
def start(starts_processes: None, tmp_path: Path) -> Iterator[Start]:
    """Start commands in a fresh directory; nothing of them runs when the test is over."""
    started: list[Started] = []

    def begin(*arguments: str, stderr: IO[bytes] | None = None, code: Path | None = None) -> Started:
        directory = tmp_path / f"command-{len(started)}"
        directory.mkdir()
        started.append(Started(directory, *arguments, stderr=stderr, code=code))
        return started[-1]

    yield begin
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()
    for lock in tmp_path.rglob("server.lock"):
        EmbeddedServer(lock.parent).stop()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        # Celery leaves its own behind in a process that has run a worker.
        if name.startswith(("ATTEMPT_BRIDGE_", "CELERY_")):
            monkeypatch.delenv(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The counts of the fault tests, one JSON line a run: their sum is what the documents may quote."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for report in reports:
        for name, line in report.user_properties:
            if name == "faults" and report.when == "call":
                terminalreporter.write_line(f"faults {report.head_line}: {line}")
