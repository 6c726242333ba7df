"""Which addresses we may connect to, by name or by number. Connecting is in `bridge/net/push_client.py`.

Measured: of 29 special addresses `ipaddress.is_global` of Python 3.11 lets 12 pass (translated, multicast, 6to4).
So IPv6 has a list of what is allowed (2000::/3 without its special blocks), not of what is forbidden.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from bridge.errors import DeliveryFailed, clip

__all__ = ["Resolver", "check_url", "is_allowed", "look_up", "resolve"]

_RESOLVE_SECONDS = 3.0
_V4_SPECIAL = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24")))
_V6_GLOBAL = ip_network("2000::/3")
_V6_SPECIAL = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
#: What `allow_private` adds. Link-local (cloud metadata), multicast, reserved and translated addresses stay forbidden.
_PRIVATE = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128"),
    )
)

Resolver = Callable[..., "list[tuple[Any, ...]]"]


def is_allowed(address: str, *, allow_private: bool = False) -> bool:
    """Whether we may connect to an IP address (text, without zone)."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if allow_private and any(ip in block for block in _PRIVATE):
        return True
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast and not any(ip in block for block in _V4_SPECIAL)
    return ip in _V6_GLOBAL and not any(ip in block for block in _V6_SPECIAL)


def check_url(url: str, *, allow_private: bool = False) -> str | None:
    """What is wrong with a configured address, or None. Names are only resolved when connecting."""
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        # Python's message quotes part of the address, which may be a password.
        return "is not a valid address; give https://host/path"
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "is not an address of the form https://host/path"
    if parts.scheme == "http" and not allow_private:
        return "is not encrypted; use https, or `allow_private: true` inside your own network"
    if parts.username is not None or parts.password is not None:
        return "contains a user name or password. Remedy: remove it; a subscription has `authorization` for it"
    if parts.fragment:
        return "has a fragment (#...), which is never sent; remove it"
    if port is not None and port != 443 and port < 1024 and not allow_private:
        return f"port {port} is neither 443 nor above 1023; use another or `allow_private: true`"
    return _check_host(parts.hostname, allow_private)


def _check_host(host: str, allow_private: bool) -> str | None:
    try:
        literal = ip_address(host)
    except ValueError:
        # `127.1`, `0x7f000001`, `2130706433`, `0177.0.0.1` and full-width digits are addresses to getaddrinfo.
        if _encoded_address(host):
            return f'host "{clip(host)}" is an encoded IP address; write it as a.b.c.d'
        return None
    if not is_allowed(str(literal), allow_private=allow_private):
        return f"address {literal} is not public; use another, or `allow_private: true` for your own network"
    return None


def _encoded_address(host: str) -> bool:
    try:
        socket.inet_aton(host.encode("idna").decode())
    except (OSError, UnicodeError):
        return False
    return True


def look_up(
    host: str, port: int, *, timeout: float, resolver: Resolver = socket.getaddrinfo
) -> list[tuple[int, tuple[Any, ...]]]:
    """(family, socket address) of a host, in the resolver's order, without checking the addresses.

    Raises `TimeoutError` after `timeout` seconds, and `OSError` for a name that does not resolve.
    """
    results: list[Any] = []

    def ask() -> None:
        try:
            results.append(resolver(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            results.append(error)

    # getaddrinfo has no timeout. The daemon thread may hang without blocking anything else.
    lookup = threading.Thread(target=ask, daemon=True, name="resolve")
    lookup.start()
    lookup.join(timeout)
    if not results:
        raise TimeoutError("name server")
    if isinstance(results[0], Exception) or not results[0]:
        raise OSError(clip(results[0])) from (results[0] or None)
    return [(entry[0], entry[4]) for entry in results[0]]


def resolve(
    host: str,
    port: int,
    *,
    allow_private: bool = False,
    timeout: float = _RESOLVE_SECONDS,
    resolver: Resolver = socket.getaddrinfo,
) -> list[tuple[int, tuple[Any, ...]]]:
    """(family, socket address) of a host, in the resolver's order; every one must be allowed.

    Raises `DeliveryFailed` when the name does not resolve within `timeout` seconds or any address is forbidden.
    """
    try:
        addresses = look_up(host, port, timeout=timeout, resolver=resolver)
    except TimeoutError as error:
        raise DeliveryFailed(
            f"{host} did not resolve within {timeout:g} s; check the name server", reason="dns"
        ) from error
    except OSError as error:
        raise DeliveryFailed(f"{host} does not resolve: {clip(error)}; check `url`", reason="dns") from error
    for _, address in addresses:
        # Not only the first: a name that also answers with an internal address is refused as a whole.
        if not is_allowed(str(address[0]).split("%")[0], allow_private=allow_private):
            raise DeliveryFailed(
                f"{host} resolves to {address[0]}, which is not public; use another `url`, or `allow_private: true`",
                reason="forbidden_address",
            )
    return addresses
