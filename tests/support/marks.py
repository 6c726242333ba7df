"""The marks `server`, `process` and `rabbitmq`: set by what a test requests, and nothing starts without them. And
`cluster`, of the tests in tests/cluster/, which start several servers that replace one another.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Fixture -> mark of every test that requests it, also through another fixture.
MARKS = {"starts_servers": "server", "starts_processes": "process", "rabbitmq": "rabbitmq"}
_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"}


def set_marks(item: pytest.Item) -> None:
    """Mark a test by its fixtures."""
    requested = set(getattr(item, "fixturenames", ()))
    for fixture, mark in MARKS.items():
        if fixture in requested:
            item.add_marker(mark)
    if hasattr(item, "callspec") and item.callspec.params.get("place") == "postgresql":
        # Asked for only when the test runs.
        item.add_marker("server")
        item.add_marker("process")
    if item.nodeid.startswith("tests/cluster/"):
        item.add_marker("cluster")


def runs_on_cluster(item: pytest.Item) -> bool:
    """Whether a test is about the state, wherever that is: not one that needs a single server."""
    if item.get_closest_marker("single_server"):
        return False
    requested = set(getattr(item, "fixturenames", ()))
    return "state" in requested and not requested & {"server", "own_server", "shared_server", "empty_state"}


class Guard:
    """Fails a test that starts a server or a process without the mark for it."""

    def __init__(self) -> None:
        self._item: pytest.Item | None = None
        sys.addaudithook(self._check)

    @contextmanager
    def watching(self, item: pytest.Item) -> Iterator[None]:
        outer, self._item = self._item, item
        try:
            yield
        finally:
            self._item = outer

    def _check(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in _STARTS or self._item is None:
            return
        program = Path(str(arguments[0])).name if event == "subprocess.Popen" else ""
        mark, fixture = ("server", "starts_servers") if program.endswith("-server") else ("process", "starts_processes")
        if self._item.get_closest_marker(mark) is None:
            raise RuntimeError(f"test starts a process: {program or event}. Request the fixture {fixture}")


GUARD = Guard()
