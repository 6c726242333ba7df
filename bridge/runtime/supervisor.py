"""Starts child processes, passes on their output, restarts what dies, stops them in order. Knows nothing of the bridge.

Which processes the bridge has is in `bridge/runtime/processes.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ldexp
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from bridge import clock
from bridge.errors import BridgeError, ConfigError, clip
from bridge.runtime import reaper

__all__ = ["Program", "Supervisor", "restart_delay"]

#: A child that lived shorter than this died quickly: the next start waits longer.
QUICK_SECONDS = 10.0
#: Longest pause before a child that keeps dying is started again.
SLOWEST_SECONDS = 60.0
#: All children together. Mostly 3 s do; a container has 10 s in all, the embedded server's end included.
STOP_SECONDS = 8.0
#: What each child has for itself before the next one is asked to stop as well.
_TURN_SECONDS = 0.5
#: Exit codes that hardly any restart cures: wrong use, wrong configuration.
_USAGE, _CONFIGURATION = 2, 78


def restart_delay(quick_deaths: int) -> float:
    """Seconds to wait before the next start: 0.5 after the first quick death, doubling to a minute."""
    return min(ldexp(0.5, min(quick_deaths, 16) - 1), SLOWEST_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a child process is called and what is run, with its whole environment."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[str] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    quick_deaths: int = 0
    last_line: str = "(it printed nothing)"
    reader: threading.Thread | None = None


class Supervisor:
    """Runs programs until it is stopped; `with` stops them whatever happens. No child is given up: it is started again
    more and more slowly while the others go on.

    `on_line(name, line)` gets each line that a child prints, from a thread per child. Stopping goes in the order of
    `programs`. Call `check` a few times a second.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        on_line: Callable[[str, str], None],
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._children = [_Child(program) for program in programs]
        self._on_line = on_line
        self._now = now
        self._guard: subprocess.Popen[str] | None = None
        self._failure: Exception | None = None
        self._settled = False

    def __enter__(self) -> Supervisor:
        try:
            self.check()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def pids(self) -> dict[str, int]:
        """Process ids of the children that live now, by name."""
        return {
            child.program.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    def settle(self) -> None:
        """From now on no exit code of one child ends the others: everything has been seen to run."""
        self._settled = True

    def check(self) -> None:
        """One look: start what is due, reap what died.

        Until `settle` a child that refuses its configuration raises `ConfigError`, one that was called wrongly
        `BridgeError`. Raises whatever `on_line` raised meanwhile.
        """
        if self._failure is not None:
            raise self._failure
        if self._guard is None or self._guard.poll() is not None:
            self._start_guard()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._bury(child)
            if child.process is None and self._now() >= child.start_at:
                self._start(child)

    def stop(self) -> None:
        """End all children within `STOP_SECONDS`, one after the other; whoever is late is killed."""
        deadline = self._now() + STOP_SECONDS
        for child in self._children:
            if child.process is not None:
                child.process.terminate()
                self._wait(child.process, min(_TURN_SECONDS, deadline - self._now()))
        for child in self._children:
            if child.process is not None and not self._wait(child.process, deadline - self._now()):
                self._on_line(child.program.name, f"still running after {STOP_SECONDS:g} s: killed")
            self._clear(child)
        self._end_guard()

    def _start(self, child: _Child) -> None:
        child.started_at = self._now()
        # A group of its own: Ctrl-C in the terminal reaches the supervisor alone, and what a child leaves behind can
        # be ended with it.
        child.process = subprocess.Popen(  # noqa: S603 - commands are ours
            child.program.command,
            env=dict(child.program.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._tell_guard(f"+{child.process.pid}")
        child.reader = threading.Thread(target=self._read, args=(child, child.process), daemon=True)
        child.reader.start()

    def _read(self, child: _Child, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            raise AssertionError("the output of a child is a pipe")
        with process.stdout:
            for line in process.stdout:
                text = line.rstrip("\n")
                child.last_line = text or child.last_line
                try:
                    self._on_line(child.program.name, text)
                except Exception as error:  # noqa: BLE001 - raised by the next `check`
                    # Reading goes on: a child whose output nobody takes would stand still.
                    self._failure = error

    def _bury(self, child: _Child) -> None:
        """Clean up after a child that died by itself and decide when it starts again."""
        process, now = child.process, self._now()
        if process is None:
            raise AssertionError("only what ran can be buried")
        self._clear(child)
        code, name = process.returncode, child.program.name
        hopeless = code in (_CONFIGURATION, _USAGE)
        if hopeless and not self._settled:
            self._refuse(child, code)
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        child.quick_deaths = child.quick_deaths + 1 if now - child.started_at < QUICK_SECONDS else 1
        delay = SLOWEST_SECONDS if hopeless else restart_delay(child.quick_deaths)
        row = f", {child.quick_deaths} times in a row" if child.quick_deaths > 1 else ""
        said = f". Its last line: {clip(child.last_line, 300)}" if hopeless or row else ""
        self._on_line(name, f"ended ({how}{row}); starts again in {delay:g} s{said}")
        child.start_at = now + delay

    def _refuse(self, child: _Child, code: int) -> NoReturn:
        said = f"{child.program.name} refuses to start: {clip(child.last_line, 300)}"
        if code == _CONFIGURATION:
            raise ConfigError(said)
        raise BridgeError(f"{said} (exit code {code})", reason="child_refused")

    def _clear(self, child: _Child) -> None:
        """End the whole group of a child, forget it, and take in the last of its output."""
        if child.process is None:
            return
        # Its own children too: workers of a killed web server would keep the port.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        if child.reader is not None:
            child.reader.join(timeout=1)
        self._tell_guard(f"-{child.process.pid}")
        child.process = None

    def _wait(self, process: subprocess.Popen[str], seconds: float) -> bool:
        try:
            process.wait(timeout=max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _start_guard(self) -> None:
        self._end_guard()
        self._guard = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(Path(reaper.__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        for pid in self.pids().values():
            self._tell_guard(f"+{pid}")

    def _end_guard(self) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            with suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait()
        self._guard = None

    def _tell_guard(self, line: str) -> None:
        if self._guard is None or self._guard.stdin is None:
            return
        # A guard that was killed is started again by the next `check`, which tells it everything.
        with suppress(BrokenPipeError):
            self._guard.stdin.write(line + "\n")
            self._guard.stdin.flush()
