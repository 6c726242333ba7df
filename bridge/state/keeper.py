"""Runs a program, and ends it when its own standard input closes. A script that uses only the standard library.

`keeper.py SECONDS PROGRAM ARGUMENTS...`: the standard input is a pipe from the parent, which the kernel closes when the
parent ends, however it ends. The program then gets SIGTERM and, SECONDS later, SIGKILL. For programs that do not watch
their parent themselves; unlike a parent-death signal this works on macOS too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

__all__ = ["kept", "main"]


def kept(program: Sequence[str], *, patience: float) -> tuple[str, ...]:
    """The command that runs a program under a keeper. `patience`: seconds from SIGTERM to SIGKILL."""
    return (sys.executable, "-I", "-S", str(Path(__file__).resolve()), f"{patience:g}", *program)


def main() -> int:
    """Run the program until it ends or the input does; the exit code of the program."""
    patience = float(sys.argv[1])
    # Inherited descriptors go on to the program: they were passed for it.
    program = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, close_fds=False)  # noqa: S603 - a command of ours

    def terminate(number: int, frame: FrameType | None) -> None:
        program.terminate()

    def end_with_input() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        program.terminate()
        try:
            program.wait(patience)
        except subprocess.TimeoutExpired:
            program.kill()

    signal.signal(signal.SIGTERM, terminate)
    threading.Thread(target=end_with_input, daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
