"""Standard Webhooks 1.0, the sender's side: secrets, and the headers that sign a push. Pure: time is an argument."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import ModuleType

from bridge.errors import ConfigError, DeliveryFailed

__all__ = [
    "Signer",
    "SigningSecret",
    "key_of",
    "moment_text",
    "new_ed25519_secret",
    "new_hmac_secret",
    "public_key_of",
    "secret_problem",
]

_HMAC, _PRIVATE, _PUBLIC = "whsec_", "whsk_", "whpk_"
#: A secret of HMAC holds 24 to 64 random bytes.
_HMAC_BYTES = range(24, 65)
#: A private key of ed25519; its public key may follow it.
_SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """One secret of an http subscription: `whsec_` for HMAC, or the private key `whsk_` for ed25519.

    `expires`: UNIX seconds from which on it is no longer used; None: never.
    """

    value: str = field(repr=False)
    expires: float | None = None

    def is_valid(self, now: float) -> bool:
        """Whether it signs at `now` (UNIX seconds)."""
        return self.expires is None or now < self.expires


def moment_text(moment: float) -> str:
    """UNIX seconds as `2026-12-31T00:00:00Z`."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def new_hmac_secret(random: bytes) -> str:
    """The secret made of 24 to 64 random bytes."""
    return _HMAC + base64.b64encode(random).decode()


def new_ed25519_secret(random: bytes) -> str:
    """The private key made of 32 random bytes, followed by its public key as other senders write it."""
    return _PRIVATE + base64.b64encode(random + _ed25519().public_key(random)).decode()


def public_key_of(secret: str) -> str | None:
    """The public key `whpk_` with which a receiver verifies; None for HMAC. The secret has no problem."""
    if not secret.startswith(_PRIVATE):
        return None
    return _PUBLIC + base64.b64encode(_ed25519().public_key(key_of(secret))).decode()


def secret_problem(secret: str) -> str | None:
    """What is wrong with a secret, or None: `whsec_` and base64 of 24-64 bytes, or `whsk_` and base64 of a key."""
    prefix = next((known for known in (_HMAC, _PRIVATE, _PUBLIC) if secret.startswith(known)), None)
    if prefix is None:
        return f'does not start with "{_HMAC}" or "{_PRIVATE}"'
    if prefix == _PUBLIC:
        return f"is a public key, which cannot sign; the private key starts with {_PRIVATE}"
    try:
        raw = _decoded(secret)
    except ValueError:
        return f"is not base64 after {prefix}"
    return _hmac_problem(raw) if prefix == _HMAC else _private_key_problem(raw)


def _hmac_problem(key: bytes) -> str | None:
    return None if len(key) in _HMAC_BYTES else f"holds {len(key)} bytes, 24 to 64 are needed"


def _private_key_problem(raw: bytes) -> str | None:
    seed, public = raw[:_SEED_BYTES], raw[_SEED_BYTES:]
    if len(raw) not in (_SEED_BYTES, 2 * _SEED_BYTES):
        return f"holds {len(raw)} bytes, 32 (private key) or 64 (private and public key) are needed"
    if public and public != _ed25519().public_key(seed):
        return "holds a public key that does not belong to its private key"
    return None


def key_of(secret: str) -> bytes:
    """The bytes that sign, from a secret without a problem; those of a private key without the public one."""
    raw = _decoded(secret)
    return raw[:_SEED_BYTES] if secret.startswith(_PRIVATE) else raw


def _ed25519() -> ModuleType:
    from bridge.net import ed25519  # noqa: PLC0415 - loads PyNaCl, which few installations need

    return ed25519


def _decoded(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.partition("_")[2], validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


class Signer:
    """Signs with every secret that is valid at the moment of the push, in the order given: the newest first."""

    def __init__(self, secrets: Sequence[SigningSecret]) -> None:
        """Raises `ConfigError` without a secret: nothing is sent unsigned."""
        if not secrets:
            raise ConfigError("an http subscription has no secret. Remedy: set `secrets`")
        self._signers = [(secret, _signing_with(secret.value)) for secret in secrets]

    def headers(self, event_id: str, body: bytes, now: float) -> dict[str, str]:
        """The three headers of Standard Webhooks. `now`: UNIX seconds; `body`: the bytes that are sent.

        Raises `DeliveryFailed` if every secret has expired.
        """
        seconds = str(int(now))
        content = f"{event_id}.{seconds}.".encode() + body
        signatures = [sign(content) for secret, sign in self._signers if secret.is_valid(now)]
        if not signatures:
            last = max(secret.expires or 0.0 for secret, _ in self._signers)
            raise DeliveryFailed(
                f"not sent: the last of `secrets` expired at {moment_text(last)}. Remedy: add a new secret to the "
                "subscription, then run attempt-bridge config reload",
                reason="secrets_expired",
            )
        return {"webhook-id": event_id, "webhook-timestamp": seconds, "webhook-signature": " ".join(signatures)}


def _signing_with(secret: str) -> Callable[[bytes], str]:
    """Content in, one signature of the header out."""
    key = key_of(secret)
    if not secret.startswith(_PRIVATE):
        return partial(_hmac_signature, key)
    sign = _ed25519().signing_with(key)
    return lambda content: "v1a," + base64.b64encode(sign(content)).decode()


def _hmac_signature(key: bytes, content: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()
