"""The exit codes of `attempt-bridge`."""

from __future__ import annotations

__all__ = [
    "CONFIGURATION",
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "NOTHING_MATCHED",
    "PARTLY_FAILED",
    "UNAVAILABLE",
    "USAGE",
    "of_failures",
]

DONE = 0
FAILED = 1
USAGE = 2
#: A filter or an id matched nothing.
NOTHING_MATCHED = 3
PARTLY_FAILED = 4
#: State server, broker or bridge unreachable.
UNAVAILABLE = 69
CONFIGURATION = 78
INTERRUPTED = 130


def of_failures(failed: int, total: int) -> int:
    """The exit code of a command that did `total` things, of which `failed` failed."""
    if not failed:
        return DONE
    return PARTLY_FAILED if failed < total else FAILED
