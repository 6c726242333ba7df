"""Reports of tests between the processes of xdist."""

from __future__ import annotations

from typing import Any


def sendable(value: Any) -> Any:
    """The same report with everything that UTF-8 cannot hold written as an escape."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
        case dict():
            return {sendable(key): sendable(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(map(sendable, value))
    return value
