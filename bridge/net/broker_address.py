"""What kombu and Celery need to reach the broker of an address; an encrypted connection is always verified.

By default kombu verifies nothing over `rediss://` and no host name over `amqps://`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from bridge.net.sentinels import sentinel_options
from bridge.net.server_group import ServerGroup, is_group, server_group

__all__ = ["BrokerAddress", "broker_address"]

_CERTIFICATE = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """The arguments of kombu's `Connection(url, ssl=ssl, transport_options={**options, ...})`."""

    #: The address without `ssl_` parameters.
    url: str = field(repr=False)
    ssl: dict[str, Any] | bool = False
    options: dict[str, Any] = field(default_factory=dict, repr=False)


def broker_address(url: str) -> BrokerAddress:
    """The arguments for kombu and Celery. `url` is one that bridge.yaml accepts for a broker."""
    if is_group(url):
        return _sentinel(server_group(url))
    parts = urlsplit(url)
    if parts.scheme not in ("rediss", "amqps"):
        return BrokerAddress(url)
    given = parse_qsl(parts.query)
    files = {name: value for name, value in given if name in _CERTIFICATE}
    rest = urlencode([(name, value) for name, value in given if not name.startswith("ssl_")])
    bare = url.partition("?")[0] + (f"?{rest}" if rest else "")
    if parts.scheme == "rediss":
        return BrokerAddress(bare, {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **files})
    # py-amqp verifies a host name only if it is given one; kombu's default is the address in which
    # it has replaced "localhost" by 127.0.0.1.
    host = unquote(parts.hostname or "localhost")
    options = {name.removeprefix("ssl_"): value for name, value in files.items()}
    return BrokerAddress(bare, {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": host, **options})


def _sentinel(group: ServerGroup) -> BrokerAddress:
    """One address for each sentinel, as kombu expects, each with the user and password of the servers."""
    login = "" if group.password is None else f"{quote(group.user or '', safe='')}:{quote(group.password, safe='')}@"
    hosts = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in group.hosts)
    url = ";".join(f"sentinel://{login}{host}/{group.db}" for host in hosts)
    options = {"master_name": group.master, "sentinel_kwargs": sentinel_options(group)}
    return BrokerAddress(url, group.tls_options() or False, options)
