"""Whole commands as processes: started, asked, killed, and looked for afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from sysconfig import get_path
from typing import IO, Protocol

from bridge.runtime import processes
from tests.support.forked import AnyProcess, Forked
from tests.support.waiting import until

PROGRAM = str(Path(get_path("scripts")) / "attempt-bridge")


class Started:
    """One `attempt-bridge` command under way; its output goes into files. `code`: another checkout to run."""

    def __init__(
        self, directory: Path, *arguments: str, stderr: IO[bytes] | None = None, code: Path | None = None
    ) -> None:
        self.out, self.err = directory / "out.txt", directory / "err.txt"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            start = _program(arguments, code)
            self.process = start(stdout=out, stderr=stderr or err, cwd=directory)

    def wait_for(self, condition: Callable[[], object], seconds: float = 90) -> None:
        def holds() -> object:
            assert self.process.poll() is None, "it ended"
            return condition()

        try:
            until(holds, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.err.read_text()[-3000:]}") from error

    def ready(self) -> str:
        """The address in the `ready` line, once it is there."""
        self.wait_for(lambda: "ready http" in self.out.read_text())
        return next(line.split()[1] for line in self.out.read_text().splitlines() if line.startswith("ready "))

    def ends(self, number: signal.Signals | None = None) -> int:
        """The exit code, after a signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(timeout=180)


def _program(arguments: Sequence[str], code: Path | None) -> Callable[..., AnyProcess]:
    """Starts it as a fork; what has processes below it, or is another version, by its command line."""
    if code is not None:
        environment = {**os.environ, "PYTHONPATH": str(code)}
        command = [sys.executable, "-m", "bridge", *arguments]
        return partial(subprocess.Popen, command, stdin=subprocess.DEVNULL, env=environment)
    if {"up", "demo"}.isdisjoint(arguments):
        return partial(Forked, ["-m", "bridge", *arguments])
    return partial(subprocess.Popen, [PROGRAM, *arguments], stdin=subprocess.DEVNULL)


class Start(Protocol):
    def __call__(self, *arguments: str, stderr: IO[bytes] | None = None, code: Path | None = None) -> Started: ...


def descendants(pid: int) -> dict[int, str]:
    """Living processes below `pid`: process id -> command line."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:  # it ended meanwhile
                continue
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    result: dict[int, str] = {}
    todo = [pid]
    while todo:
        parent = todo.pop()
        for child in (pid for pid, its in parents.items() if its == parent):
            todo.append(child)
            try:
                result[child] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
    return result


def parent_of(pid: int) -> int:
    """The parent of a process, 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def part_pids(started: Started) -> dict[str, int]:
    """Process ids of the parts: direct children of the supervisor."""
    return {
        name: pid
        for pid, command in descendants(started.process.pid).items()
        for name in processes.PARTS
        if f"-m bridge {name} " in command + " " and parent_of(pid) == started.process.pid
    }


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
