"""The one place where redis-py's errors become ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.exceptions import NoPermissionError

from bridge.errors import StateUnavailable, clip
from bridge.net.broker_problems import broker_problem
from bridge.net.tls import tls_problem
from bridge.state.confirming_client import Unconfirmed

__all__ = ["state_errors", "state_problem"]

#: Errors in scripts that come from the server's state and may pass: memory, role, disk, loading, rights, damaged keys,
#: slots that move.
_STATE_CODES = re.compile(
    r"\b(OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|LOADING|BUSY|TRYAGAIN|NOAUTH|NOPERM|WRONGTYPE|UNKILLABLE"
    r"|non local key)\b"
)
_REMEDY = ". Remedy: "
_IN_SCRIPT = re.compile(r"\buser_script\b|\bRunning script\b", re.IGNORECASE)


@contextmanager
def state_errors() -> Iterator[None]:
    """Any problem of the state server as `StateUnavailable`: the one place where redis-py's errors are translated."""
    try:
        yield
    except redis.DataError:
        # An argument of ours that no command can hold: it was never sent, and a retry would fail again.
        raise
    except redis.ResponseError as error:
        if _is_fault_of_script(error):
            # Our fault, too: the state server answers, and the same call would fail again.
            raise
        raise _unavailable(error) from error
    except redis.RedisError as error:
        raise _unavailable(error) from error


def _unavailable(error: redis.RedisError) -> StateUnavailable:
    if isinstance(error, Unconfirmed):
        return StateUnavailable(f"state server: {error}", reason="unconfirmed")
    # The text of a server error names commands and limits, not data; clipped anyway.
    text = f"{type(error).__name__}: {clip(error).rstrip('.')}; run `attempt-bridge doctor`"
    return StateUnavailable(f"state server: {state_problem(error) or text}")


def state_problem(error: BaseException) -> str | None:
    """What is wrong with the address of the state server, with the remedy, or None if `error` is about something else.

    Errors of our own clients have their remedy in them.
    """
    if problem := tls_problem(error):
        return problem
    if isinstance(error, redis.RedisError) and _REMEDY in str(error):
        return clip(error, 300)
    if isinstance(error, redis.AuthenticationError):
        return _REMEDY.join(broker_problem(error))
    if isinstance(error, NoPermissionError):
        return f"{clip(error)}{_REMEDY}allow that user all commands (ACL SETUSER), or name another in its address"
    return None


def _is_fault_of_script(error: redis.ResponseError) -> bool:
    text = str(error)
    return type(error) is redis.ResponseError and bool(_IN_SCRIPT.search(text)) and not _STATE_CODES.search(text)
