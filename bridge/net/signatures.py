"""Signatures: verifying what vendors send, signing what we push. Raw bytes in, constant-time comparison, no clock."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

from bridge.errors import BadSignature, ConfigError

__all__ = ["check_webhook_secret", "hmac_sha256", "require_signature", "sha256_hex", "standard_webhook_headers"]

#: Standard Webhooks: a secret holds 24 to 64 random bytes.
_SECRET_BYTES = range(24, 65)


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


def check_webhook_secret(secret: str) -> str | None:
    """What is wrong with an outbound secret (`whsec_` and base64 of 24-64 bytes), or None.

    The library takes any garbage as a key, so that a typo would only show at the receiver.
    """
    if not secret.startswith("whsec_"):
        return 'does not start with "whsec_"'
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return "is not base64 after whsec_"
    if len(key) not in _SECRET_BYTES:
        return f"holds {len(key)} bytes, 24 to 64 are needed"
    return None


def standard_webhook_headers(secrets: tuple[str, ...], event_id: str, body: bytes, now: float) -> dict[str, str]:
    """The three headers of Standard Webhooks 1.0; one signature per secret while one is being rotated.

    `now`: UNIX seconds of this try. The body must be the very bytes that are sent.
    """
    if not secrets:
        raise ConfigError("an http subscription has no secret; set `secrets`")
    # sign() takes the datetime as UTC whatever its zone says, so it must be UTC; it signs whole seconds.
    moment = datetime.fromtimestamp(int(now), UTC)
    text = body.decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(Webhook(secret).sign(event_id, moment, text) for secret in secrets),
    }
