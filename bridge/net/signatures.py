"""Verifies what vendors have signed: raw bytes in, constant-time comparison, no clock. What is pushed is signed in
`bridge/net/standard_webhooks.py`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from bridge.errors import BadSignature

__all__ = ["hmac_sha256", "require_signature", "sha256_hex"]


def hmac_sha256(secret: str, raw: bytes) -> bytes:
    """The 32 bytes of HMAC-SHA256 over exactly `raw`."""
    return hmac.digest(secret.encode(), raw, "sha256")


def require_signature(raw: bytes, given: bytes, secrets: Iterable[str]) -> int:
    """The number, from 1, of the secret under which `given` (decoded) is the HMAC-SHA256 of `raw`.

    Raises `BadSignature` if there is none. All secrets are always tried, so that the time does not reveal which one is
    current.
    """
    used = 0
    for number, secret in enumerate(secrets, 1):
        matches = hmac.compare_digest(hmac_sha256(secret, raw), given)
        used = used or number * matches
    if not used:
        raise BadSignature("the signature belongs to no configured secret; compare the webhook's secret phrase")
    return used


def sha256_hex(text: str) -> str:
    """How tokens are stored and looked up."""
    return hashlib.sha256(text.encode()).hexdigest()
