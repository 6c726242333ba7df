"""Ends the process groups of a supervisor that was killed. A separate script that uses only the standard library.

Reads `+<group>` and `-<group>` lines from its standard input. The input ends when the supervisor does, however it ends:
then the groups still listed get SIGTERM and, after a few seconds, SIGKILL. Unlike a parent-death signal this reaches
grandchildren, works on macOS, and does not depend on the thread that started a child.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

__all__ = ["main"]

#: Enough for a process of the bridge to finish its current call.
_GRACE_SECONDS = 3.0


def main() -> None:
    """Keep the list until the input ends, then end the groups that are left on it."""
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
        deadline = time.monotonic() + _GRACE_SECONDS
        while groups and time.monotonic() < deadline:
            groups = {group for group in groups if _is_running(group)}
            time.sleep(0.05)


def _is_running(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS says PermissionError for a group of zombies
        return False
    return True


if __name__ == "__main__":
    main()
