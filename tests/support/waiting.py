"""Waiting for conditions instead of sleeping."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def until(condition: Callable[[], Answer], *, seconds: float = 60.0) -> Answer:
    """Wait for a truthy answer and return it; a connection that fails counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if answer := condition():
                return answer
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s")
        time.sleep(0.02)
