"""Tokens of the operator API and the metrics: how they are made, kept as hashes, and recognised."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Iterable
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from bridge.config.model import Config, Token, TrustedProxy
from bridge.errors import BridgeError, clip
from bridge.net.signatures import sha256_hex
from bridge.state.data_directory import make_private, open_private

__all__ = [
    "FILE",
    "NO_ROLE",
    "OPERATOR",
    "RECEIVER",
    "VIEWER",
    "client_address",
    "first_token",
    "includes",
    "new_token",
    "proxy_user",
    "token_of",
    "tokens",
]

#: A receiver confirms the events of one subscription, and reads nothing.
VIEWER, OPERATOR, RECEIVER = "viewer", "operator", "receiver"
#: The role of a user whom the proxy names but bridge.yaml gives no role.
NO_ROLE = ""
#: File in `data_dir` with the hash of the token that `up` made because bridge.yaml names none.
FILE = "api-token.sha256"
_USER = re.compile(r"[\w.@+-]{1,100}")
_HASH = re.compile(r"[0-9a-f]{64}")


def new_token() -> str:
    """An unguessable token."""
    return secrets.token_urlsafe(32)


def tokens(config: Config) -> tuple[Token, ...]:
    """The accepted tokens: those of bridge.yaml or, if it names none, the one that `up` made; empty if there is none.

    Raises `BridgeError` for a file that cannot be used.
    """
    if config.access.tokens:
        return config.access.tokens
    path = config.bridge.data_dir / FILE
    try:
        with os.fdopen(open_private(path, os.O_RDONLY), encoding="ascii", errors="replace") as file:
            text = file.read(1000).strip()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unusable(path, f"cannot be read: {clip(error.strerror or error)}") from error
    if not _HASH.fullmatch(text):
        raise _unusable(path, "holds no SHA-256 in 64 hex digits")
    return (Token(name="up", role=OPERATOR, sha256=text),)


def first_token(config: Config) -> str | None:
    """One line for the operator about the token of a bridge whose file names none; None if it names any.

    Makes the token at the first start; only its hash is kept. Raises `BridgeError` if that cannot be written or read.
    """
    if config.access.tokens:
        return None
    path = config.bridge.data_dir / FILE
    if tokens(config):
        return f"the hash of the API token is in {path}; to get a new token delete that file and start again"
    token = new_token()
    try:
        make_private(path.parent)
        _write(path, f"{sha256_hex(token)}\n")
    except OSError as error:
        raise _unusable(path, f"cannot be written: {clip(error.strerror or error)}") from error
    return f"API token, shown this once: {token} (operator; its hash is in {path})"


def token_of(given: str, accepted: Iterable[Token]) -> Token | None:
    """The accepted token that an `Authorization` header holds, None if it holds none."""
    scheme, _, text = given.partition(" ")
    digest = sha256_hex(text.strip())
    match = None
    for entry in accepted:
        # All are compared, each in constant time.
        if hmac.compare_digest(entry.sha256.lower(), digest) and scheme.lower() == "bearer":
            match = entry
    return match


def includes(granted: str | None, wanted: str) -> bool:
    """Whether the role `granted` may do what the role `wanted` may."""
    return granted == OPERATOR or (granted is not None and granted == wanted)


def proxy_user(proxy: TrustedProxy, peer: str, given: str) -> tuple[str, str] | None:
    """Name and role of the user in the header of a trusted proxy; None if the call is not from one, or names nobody.

    `peer`: the address of the connection itself. `given`: the header's value.
    """
    if not _USER.fullmatch(given) or not _is_from(proxy, peer):
        return None
    for role in (OPERATOR, VIEWER):
        if any(fnmatchcase(given, pattern) for pattern in proxy.roles.get(role, ())):
            return given, role
    return given, NO_ROLE


def client_address(proxy: TrustedProxy | None, peer: str, forwarded_for: str) -> str:
    """The client's address; from a trusted proxy, the last in `X-Forwarded-For` that is not a trusted proxy's."""
    address = peer
    if proxy is None:
        return address
    for hop in reversed(forwarded_for.split(",")):
        if not _is_from(proxy, address) or _parsed(hop.strip()) is None:
            break
        address = hop.strip()
    return address


def _is_from(proxy: TrustedProxy, address: str) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in ip_network(network) for network in proxy.from_)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    # A dual-stack socket shows 10.0.0.1 as ::ffff:10.0.0.1.
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _write(path: Path, text: str) -> None:
    """Write the file completely or not at all, readable only by this user."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    beside.replace(path)


def _unusable(path: Path, what: str) -> BridgeError:
    return BridgeError(
        f"{path}: {what}. Remedy: delete it and start `attempt-bridge up`, or name tokens under access.tokens",
        reason="api_token",
    )
