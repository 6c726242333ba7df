"""A lease: the exclusive right to do something now."""

from __future__ import annotations

import redis

from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["Lease"]


class Lease:
    """The exclusive right to do `name` now. It expires after `seconds` without `hold`, so a killed holder blocks nobody
    for longer. A holder that slept through the expiry may run at the same time as the next one: what the lease guards
    must tolerate that."""

    def __init__(self, client: redis.Redis, name: str, token: str, *, seconds: float) -> None:
        self._hold = scripts.register(client, __file__, "hold")
        self._release = scripts.register(client, __file__, "release")
        self._key = keys.lease(name)
        self._token = token
        self._milliseconds = int(seconds * 1000)

    def hold(self) -> bool:
        """Take the lease, or renew it; False while another holder has it. Raises `StateUnavailable`."""
        with state_errors():
            return bool(self._hold(keys=[self._key], args=[self._token, self._milliseconds]))

    def release(self) -> None:
        """Give it back if it is still ours. Raises `StateUnavailable`."""
        with state_errors():
            self._release(keys=[self._key], args=[self._token])
