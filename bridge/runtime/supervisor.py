"""Starts child processes, forwards their output, restarts those that exit, stops them in order. No bridge logic.

The standard input of every child is a pipe that stays open and empty while the supervisor lives: a child that watches
it ends with the supervisor, and so does any program under `bridge/state/keeper.py`.

The processes of the bridge are in `bridge/runtime/processes.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from math import ldexp
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from bridge import clock
from bridge.errors import BridgeError, ConfigError, clip
from bridge.runtime import reaper

__all__ = ["Program", "Supervisor", "restart_delay"]

#: A child that exits sooner than this after its start exited quickly: the next start waits longer.
QUICK_SECONDS = 10.0
#: Longest wait before a child that keeps exiting is started again.
LONGEST_DELAY_SECONDS = 60.0
#: For all children together. Usually 3 s are enough; a container has 10 s in all, the embedded server included.
STOP_SECONDS = 8.0
#: How long each child has before the next one is asked to stop as well.
_STOP_INTERVAL_SECONDS = 0.5
#: Exit codes that a restart hardly ever fixes: wrong usage, wrong configuration.
_USAGE, _CONFIGURATION = 2, 78


def restart_delay(quick_exits: int) -> float:
    """Seconds before the next start: 0.5 after the first quick exit, doubling up to a minute."""
    return min(ldexp(0.5, min(quick_exits, 16) - 1), LONGEST_DELAY_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A child process to run."""

    #: Its name in front of its output.
    name: str
    command: tuple[str, ...]
    #: The whole environment: nothing is inherited.
    environment: Mapping[str, str] = field(repr=False)


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[str] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    quick_exits: int = 0
    last_line: str = "(it printed nothing)"
    reader: threading.Thread | None = None


class Supervisor:
    """Runs programs until it is stopped; `with` stops them in any case. A child that keeps exiting is restarted at
    growing intervals while the others continue.

    `on_line(name, line)` gets each line that a child prints, from a thread per child. Children are stopped in the order
    of `programs`. Call `check` a few times a second.
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
        self._reaper: subprocess.Popen[str] | None = None
        self._failure: Exception | None = None
        self._has_settled = False

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
        """Process ids of the running children, by name."""
        return {
            child.program.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to each running child, not to its children."""
        for child in self._children:
            if child.process is not None:
                child.process.send_signal(number)

    def settle(self) -> None:
        """Note that all children have been seen running: from now on, no child's exit code ends the others."""
        self._has_settled = True

    def check(self) -> None:
        """Start the children that are due, handle those that exited.

        Until `settle`, a child that rejects its configuration raises `ConfigError`, one with wrong arguments
        `BridgeError`. Raises what `on_line` raised meanwhile.
        """
        if self._failure is not None:
            raise self._failure
        if self._reaper is None or self._reaper.poll() is not None:
            with suppress(OSError) if self._has_settled else nullcontext():
                self._start_reaper()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._handle_exit(child)
            if child.process is None and self._now() >= child.start_at:
                self._start_or_postpone(child)

    def stop(self) -> None:
        """Stop all children in order within `STOP_SECONDS`; those still running are killed."""
        deadline = self._now() + STOP_SECONDS
        for child in self._children:
            if child.process is not None:
                child.process.terminate()
                self._wait(child.process, min(_STOP_INTERVAL_SECONDS, deadline - self._now()))
        for child in self._children:
            if child.process is not None and not self._wait(child.process, deadline - self._now()):
                self._on_line(child.program.name, f"still running after {STOP_SECONDS:g} s: killed")
            self._clear(child)
        self._stop_reaper()

    def _start_or_postpone(self, child: _Child) -> None:
        """Start a child. Once all have run, a machine out of memory or processes is a reason to wait, not to end."""
        try:
            self._start(child)
        except OSError as error:
            if not self._has_settled:
                raise
            child.quick_exits += 1
            delay = restart_delay(child.quick_exits)
            self._on_line(
                child.program.name, f"cannot be started ({clip(error.strerror)}); trying again in {delay:g} s"
            )
            child.start_at = self._now() + delay

    def _start(self, child: _Child) -> None:
        child.started_at = self._now()
        # Its own process group: Ctrl-C in the terminal reaches only the supervisor, and grandchildren can be
        # stopped with their parent.
        child.process = subprocess.Popen(  # noqa: S603 - commands are ours
            child.program.command,
            env=dict(child.program.environment),
            # Never written to. The kernel closes it when this process ends, however it ends, and so ends the child.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._tell_reaper(f"+{child.process.pid}")
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
                    # Keep reading: a child blocks when nobody reads its output.
                    self._failure = error

    def _handle_exit(self, child: _Child) -> None:
        """Clean up after a child that exited on its own, and decide when to start it again."""
        process, now = child.process, self._now()
        if process is None:
            raise AssertionError("only a child that was started can exit")
        self._clear(child)
        code, name = process.returncode, child.program.name
        incurable = code in (_CONFIGURATION, _USAGE)
        if incurable and not self._has_settled:
            self._refuse(child, code)
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        child.quick_exits = child.quick_exits + 1 if now - child.started_at < QUICK_SECONDS else 1
        delay = LONGEST_DELAY_SECONDS if incurable else restart_delay(child.quick_exits)
        repeated = f", {child.quick_exits} times in a row" if child.quick_exits > 1 else ""
        last_line = f". Its last line: {clip(child.last_line, 300)}" if incurable or repeated else ""
        self._on_line(name, f"exited unexpectedly ({how}{repeated}); restarting in {delay:g} s{last_line}")
        child.start_at = now + delay

    def _refuse(self, child: _Child, code: int) -> NoReturn:
        problem = f"{child.program.name} refuses to start: {clip(child.last_line, 300)}"
        if code == _CONFIGURATION:
            raise ConfigError(problem)
        raise BridgeError(f"{problem} (exit code {code})", reason="child_refused")

    def _clear(self, child: _Child) -> None:
        """Kill what is left of a child's process group, and read the rest of its output."""
        if child.process is None:
            return
        # Grandchildren too: the workers of a killed web server would keep the port.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        if child.process.stdin is not None:
            child.process.stdin.close()
        if child.reader is not None:
            child.reader.join(timeout=1)
        self._tell_reaper(f"-{child.process.pid}")
        child.process = None

    def _wait(self, process: subprocess.Popen[str], seconds: float) -> bool:
        try:
            process.wait(timeout=max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _start_reaper(self) -> None:
        self._stop_reaper()
        self._reaper = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(Path(reaper.__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        for pid in self.pids().values():
            self._tell_reaper(f"+{pid}")

    def _stop_reaper(self) -> None:
        if self._reaper is not None and self._reaper.stdin is not None:
            with suppress(BrokenPipeError):
                self._reaper.stdin.close()
            self._reaper.wait()
        self._reaper = None

    def _tell_reaper(self, line: str) -> None:
        if self._reaper is None or self._reaper.stdin is None:
            return
        # The next `check` restarts a reaper that was killed and sends it all process groups.
        with suppress(BrokenPipeError):
            self._reaper.stdin.write(line + "\n")
            self._reaper.stdin.flush()
