"""ed25519 (RFC 8032). The one module that imports PyNaCl; import it when a key is used."""

from __future__ import annotations

from collections.abc import Callable

from nacl.signing import SigningKey

__all__ = ["public_key", "signing_with"]


def public_key(seed: bytes) -> bytes:
    """The 32 bytes of the public key to a private key, which is its seed of 32 bytes."""
    return bytes(SigningKey(seed).verify_key)


def signing_with(seed: bytes) -> Callable[[bytes], bytes]:
    """The function that signs: content in, signature of 64 bytes out."""
    key = SigningKey(seed)
    return lambda content: key.sign(content).signature
