"""Keys that expire, such as heartbeats, on a state server whose clock may be set back."""

from __future__ import annotations

import redis

__all__ = ["LONGEST_HEARTBEAT", "exists_for"]

#: No heartbeat lasts longer, seconds.
LONGEST_HEARTBEAT = 60.0
#: What PTTL returns for a key that does not exist.
_NO_KEY = -2


def exists_for(client: redis.Redis, key: str, longest: float = LONGEST_HEARTBEAT) -> bool:
    """Whether a key exists that is never set for more than `longest` seconds. Raises the errors of redis-py.

    A key that expires later was set before the clock was set back, perhaps by a dead process: it now gets `longest`.
    """
    left, milliseconds = client.pttl(key), int(longest * 1000)
    if left > milliseconds:
        client.pexpire(key, milliseconds)
    return left != _NO_KEY
