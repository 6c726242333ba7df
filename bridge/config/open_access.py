"""Open access of the demo: without signing in, but only for callers and pages on this machine. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

__all__ = ["HOSTS", "forwarding_header", "is_local_host", "is_loopback"]

#: Where web listens while access is open.
HOSTS = ("127.0.0.1", "localhost", "::1")
_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_FORWARDING = ("forwarded", "via", "x-forwarded-", "x-real-ip")


def is_loopback(address: str) -> bool:
    """Whether a socket's address, such as `127.0.0.1` or `::1`, can be reached only from this machine."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return ((parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed).is_loopback


def is_local_host(header: str) -> bool:
    """Whether a `Host` header names this machine.

    A page of another host can have its name resolve to 127.0.0.1 (DNS rebinding): the browser then lets it read our
    answers, but sends that name.
    """
    return _HOST.fullmatch(header) is not None


def forwarding_header(names: Iterable[str]) -> str | None:
    """The header that a proxy or tunnel has added, if any: the caller is elsewhere, whatever the socket's address."""
    return next((name for name in names if name.lower().startswith(_FORWARDING)), None)
