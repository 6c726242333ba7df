"""Sessions of the user interface: a cookie names a session in the state, opened with a token."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

import redis

from bridge.config.model import Token
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.stored_json import UnreadableRecord, json_object

__all__ = ["COOKIE", "SECONDS", "Session", "Sessions"]

COOKIE = "bridge_session"
#: How long a session lasts, whether it is used or not.
SECONDS = 12 * 3600


@dataclass(frozen=True, slots=True)
class Session:
    """Who has opened it, with the role of its token now. `csrf`: what changes must send back besides the cookie."""

    name: str
    role: str
    csrf: str


class Sessions:
    """The open sessions. The state holds only hashes, with which nobody can use a session. Methods raise
    `StateUnavailable`.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def open(self, token: Token) -> tuple[str, Session]:
        """The secret for the cookie of a new session of a token, and the session."""
        secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        record = json.dumps({"token": token.sha256.lower(), "csrf": csrf})
        with state_errors():
            self._client.set(_key(secret), record, ex=SECONDS)
        return secret, Session(token.name, token.role, csrf)

    def find(self, secret: str, accepted: Sequence[Token]) -> Session | None:
        """The session of a cookie; None if it has ended, or its token is no longer accepted."""
        with state_errors():
            stored = cast("bytes | None", self._client.get(_key(secret)))
        try:
            record = json_object(stored or b"{}")
            digest, csrf = str(record["token"]), str(record["csrf"])
        except (UnreadableRecord, KeyError):
            return None
        for token in accepted:
            if token.sha256.lower() == digest:
                return Session(token.name, token.role, csrf)
        return None

    def close(self, secret: str) -> None:
        """End the session of a cookie, if it is open."""
        with state_errors():
            self._client.delete(_key(secret))


def _key(secret: str) -> str:
    return keys.session(sha256(secret.encode("utf-8", "surrogateescape")).hexdigest())
