"""Ends the process groups of a supervisor that was killed. A script of its own, run with the standard library alone.

Reads `+<group>` and `-<group>` lines from its standard input. The input ends when the supervisor does, however it dies:
then what is still listed is asked to end and, after a moment, killed. Unlike a parent-death signal this reaches
grandchildren, works on macOS, and does not depend on the thread that started a child.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

__all__ = ["main"]

#: What a process of the bridge needs to finish the call it is in.
_PATIENCE_SECONDS = 3.0


def main() -> None:
    """Follow the list until the input ends, then end what is left on it."""
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, number)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while groups and time.monotonic() < deadline:
            groups = {group for group in groups if _lives(group)}
            time.sleep(0.05)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS says PermissionError for a group of zombies
        return False
    return True


if __name__ == "__main__":
    main()
