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


def require_signature(raw: bytes, given: bytes, secrets: Iterable[str]) -> None:
    """Raise `BadSignature` unless `given` (decoded) is the HMAC-SHA256 of `raw` under one of the secrets.

    All secrets are always tried, so that the time does not tell which one is current.
    """
    matches = False
    for secret in secrets:
        matches |= hmac.compare_digest(hmac_sha256(secret, raw), given)
    if not matches:
        raise BadSignature("the signature belongs to no configured secret; compare the webhook's secret phrase")


def sha256_hex(text: str) -> str:
    """How tokens are stored and looked up."""
    return hashlib.sha256(text.encode()).hexdigest()
