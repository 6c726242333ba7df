"""The one-time code in the sign-in link that `up` prints while bridge.yaml names no token. The state holds its hash."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import cast

import redis

from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["SECONDS", "SignInCode"]

#: How long a code can be used.
SECONDS = 24 * 3600


class SignInCode:
    """There is one at a time. Methods raise `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._redeem = scripts.register(client, __file__, "redeem_code")

    def make(self, token_digest: str) -> str:
        """A new code, which replaces the earlier one, for a session of the token with this SHA-256 in hex."""
        code, key = secrets.token_urlsafe(32), keys.sign_in_code()
        with state_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.delete(key)
            pipeline.hset(key, mapping={"code": _digest(code), "token": token_digest})
            pipeline.expire(key, SECONDS)
            pipeline.execute()
        return code

    def redeem(self, code: str) -> str | None:
        """The SHA-256 of its token, the first time; None for a code that was used, replaced, or never made."""
        # A call whose reply was lost is repeated: the same call may take the code twice.
        call = secrets.token_hex(8)
        with state_errors():
            token = cast("bytes | None", self._redeem(keys=[keys.sign_in_code()], args=[_digest(code), call]))
        return None if token is None else token.decode()


def _digest(code: str) -> str:
    return sha256(code.encode("utf-8", "surrogateescape")).hexdigest()
