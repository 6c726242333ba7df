"""Python programs as forks of a process that has imported the bridge: most of a start of the bridge is its imports.

They are processes like any other: signals, exit codes, files and variables are their own. Who wants to see the start
itself, or a command line that other processes look for, needs `subprocess`.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import reduction
from pathlib import Path
from typing import IO, Any

__all__ = ["AnyProcess", "Forked"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([f"{__package__}.forked_imports"])


class _Inherited:
    """A file of this process that a child gets too."""

    def __init__(self, file: IO[Any]) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _descriptor, (reduction.DupFd(self._file.fileno()),)  # type: ignore[attr-defined]


def _descriptor(duplicate: Any) -> int:
    return int(duplicate.detach())


class Forked:
    """As `subprocess.Popen`. `arguments`: a Python file, or `-m` and a module, and its arguments."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        stdout: IO[Any],
        stderr: IO[Any],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        files, place = (_Inherited(stdout), _Inherited(stderr)), str(cwd or Path.cwd())
        # Daemon: what a test has forgotten ends with the tests.
        self._process = _CONTEXT.Process(
            target=_run, args=(list(arguments), files, place, dict(env or os.environ)), daemon=True
        )
        self._process.start()
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The same, once it has ended. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _run(arguments: list[str], files: tuple[int, int], directory: str, environment: dict[str, str]) -> None:
    """In the child."""
    for target, descriptor in enumerate(files, start=1):
        os.dup2(descriptor, target)
        os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[attr-defined]
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        # An interpreter does it when it ends; multiprocessing does not.
        atexit._run_exitfuncs()


#: A process that a test has started.
AnyProcess = Forked | subprocess.Popen[bytes]
