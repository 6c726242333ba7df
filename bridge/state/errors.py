"""The one place where redis-py's errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from bridge.errors import StateUnavailable, clip
from bridge.net.tls import tls_problem

__all__ = ["state_errors"]


@contextmanager
def state_errors() -> Iterator[None]:
    """Any trouble of the state server as `StateUnavailable`: the one place where redis-py's errors are translated."""
    try:
        yield
    except redis.DataError:
        # An argument of ours that no command can hold: never sent, and sent again it would fail again.
        raise
    except redis.RedisError as error:
        # The text of a server error names commands and limits, not data; clipped all the same.
        text = f"{type(error).__name__}: {clip(error).rstrip('.')}; run `attempt-bridge doctor`"
        raise StateUnavailable(f"state server: {tls_problem(error) or text}") from error
