"""The marks `server`, `process` and `rabbitmq`: set by what a test requests, and nothing starts without them. And
`cluster`, of the tests in tests/cluster/, which start several servers that replace one another.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked import Forked

#: Fixture -> mark of every test that requests it, also through another fixture.
MARKS = {"starts_servers": "server", "starts_processes": "process", "rabbitmq": "rabbitmq"}
_SHARED = {"state", "shared_server", "state_cluster"}
_ONE_SERVER = {"server", "own_server", "shared_server", "empty_state"}
_STARTS: list[tuple[Any, str]] = [
    (subprocess.Popen, "__init__"),
    (Forked, "__init__"),
    *((os, name) for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp")),
]


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


def places_of_files(items: Iterable[pytest.Item]) -> dict[Path, float]:
    """File -> its place, so that those whose tests wait are spread among those that keep a processor busy.

    The last are of the latter, from the beginning of the alphabet: packages with quick tests, such as `cli` and
    `config`.
    """
    is_waiting: dict[Path, bool] = {}
    for item in items:
        is_waiting[item.path] = is_waiting.get(item.path, False) or _is_waiting(item)
    places = {}
    for group, share in (True, 0.7), (False, 1.0):
        files = [file for file, waits in is_waiting.items() if waits is group]
        places.update((file, share * number / len(files)) for number, file in enumerate(reversed(files)))
    return places


def _is_waiting(item: pytest.Item) -> bool:
    """Whether a test waits for a process, or for servers of its own."""
    requested = set(getattr(item, "fixturenames", ()))
    has_its_own = "starts_servers" in requested and not requested & _SHARED
    return has_its_own or item.get_closest_marker("process") is not None


@dataclass(frozen=True)
class Place:
    """Where a test has its state, and in how many partitions if it does not say so itself."""

    name: str
    on_cluster: bool = False
    partitions: int = 1


SERVER = Place("server")
CLUSTER = Place("cluster", on_cluster=True)
CLUSTER_OF_SIX = Place("cluster-6-partitions", on_cluster=True, partitions=6)


def places_of(test: pytest.Item | pytest.Function, fixtures: Iterable[str], *, on_cluster: bool) -> list[Place]:
    """Where a test runs; empty: wherever it starts its own. `on_cluster`: in a run of tests over a cluster.

    A test that needs a single server is none of a cluster. One of one partition is not given more.
    """
    requested = set(fixtures)
    # Some tests have a parameter of this name, which starts nothing.
    if not {"state", "starts_servers"} <= requested or requested & _ONE_SERVER:
        return []
    of_cluster = CLUSTER if test.get_closest_marker("own_partitions") else CLUSTER_OF_SIX
    if on_cluster:
        return [] if test.get_closest_marker("single_server") else list(dict.fromkeys([CLUSTER, of_cluster]))
    return [SERVER, of_cluster] if test.get_closest_marker("cluster_too") else [SERVER]


def place_of(item: pytest.Item) -> Place | None:
    """Where this run of a test has its state; None: it has none, or starts its own."""
    place = item.callspec.params.get("state") if hasattr(item, "callspec") else None
    return place if isinstance(place, Place) else None


class Guard:
    """Fails a test that starts a server or a process without the mark for it.

    What starts a process is wrapped. A hook of `sys.addaudithook` would see more, and be called for every `id()`,
    `__code__` and `open()` of all tests: one fortieth of their time.
    """

    def __init__(self) -> None:
        self._item: pytest.Item | None = None
        for owner, name in _STARTS:
            setattr(owner, name, self._watched(getattr(owner, name), name))

    @contextmanager
    def watching(self, item: pytest.Item) -> Iterator[None]:
        outer, self._item = self._item, item
        try:
            yield
        finally:
            self._item = outer

    def _watched(self, start: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(start)
        def watched(*arguments: Any, **options: Any) -> Any:
            if self._item is not None:
                # Of a Popen its argument `args`, a line or a list; `None` for `os.fork`.
                command = arguments[1] if name == "__init__" and len(arguments) > 1 else options.get("args")
                parts = [command] if isinstance(command, str | Path) else command or [name]
                self._check(self._item, next(part for part in parts if part != "-m"))
            return start(*arguments, **options)

        return watched

    def _check(self, item: pytest.Item, program: object) -> None:
        program = Path(str(program)).name
        mark, fixture = ("server", "starts_servers") if program.endswith("-server") else ("process", "starts_processes")
        if item.get_closest_marker(mark) is None:
            raise RuntimeError(f"test starts a process: {program}. Request the fixture {fixture}")


GUARD = Guard()
