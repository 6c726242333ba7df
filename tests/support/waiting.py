"""Waiting for conditions instead of sleeping."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def until(condition: Callable[[], Answer], *, seconds: float = 60.0) -> Answer:
    """Wait for a truthy answer and return it; a connection that fails counts as not yet.

    The longer it takes the less often it is asked for: asking keeps a processor busy, waiting does not.
    """
    began = time.monotonic()
    while True:
        try:
            if answer := condition():
                return answer
        except (OSError, http.client.HTTPException):
            pass
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"not within {seconds:g} s")
        time.sleep(min(max(waited / 10, 0.02), 0.2))
