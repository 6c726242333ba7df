"""ed25519 (RFC 8032). The one module that imports `cryptography`, which takes a tenth of a second; import it on use."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["public_key", "signing_with"]


def public_key(seed: bytes) -> bytes:
    """The 32 bytes of the public key to a private key, which is its seed of 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def signing_with(seed: bytes) -> Callable[[bytes], bytes]:
    """The function that signs: content in, signature of 64 bytes out."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign
