"""Addresses that name several servers: the sentinels of a primary, or nodes of a Redis Cluster.

`redis+sentinel://[user:password@]host1:26379,host2,host3/NAME/DB`, `redis+cluster://[user:password@]host1,host2`;
`rediss+...` is over TLS. There is no standard for such addresses, and `urlsplit` reads only one host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from bridge.errors import clip

__all__ = ["CLUSTER", "SENTINEL", "ServerGroup", "group_problem", "is_group", "server_group"]

#: Schemes.
SENTINEL = ("redis+sentinel", "rediss+sentinel")
CLUSTER = ("redis+cluster", "rediss+cluster")

_EXAMPLES = {"sentinel": "redis+sentinel://h1:26379,h2,h3/mymaster/0", "cluster": "redis+cluster://h1:6379,h2,h3"}
_PORTS = {"sentinel": 26379, "cluster": 6379}
_HOST = re.compile(r"(?P<name>[\w.-]+|\[[0-9A-Fa-f:.]+\])(?P<colon>:(?P<port>.*))?")
#: A primary's name, as sentinels allow it.
_MASTER = re.compile(r"[A-Za-z0-9._-]+")
#: Sentinels have users of their own: the servers' user and password must not be sent to sentinels.
_SENTINEL_USER, _SENTINEL_PASSWORD = "sentinel_username", "sentinel_password"
_LAST_PORT, _LAST_DATABASE = 65_535, 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerGroup:
    """The servers of an address."""

    #: `sentinel` or `cluster`.
    kind: str
    #: (host, port) of each sentinel, or of some nodes of the cluster.
    hosts: tuple[tuple[str, int], ...]
    #: The name that the sentinels have for the primary; empty for a cluster.
    master: str = ""
    #: Number of the database; a cluster has only 0.
    db: int = 0
    #: User and password of the servers. Sentinels have their own.
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False
    #: The `ssl_` parameters; `bridge/net/tls.py` checks them.
    tls_parameters: tuple[tuple[str, str], ...] = ()

    def tls_options(self) -> dict[str, Any]:
        """The arguments that make redis-py's connections encrypted; certificate and host name are verified."""
        if not self.tls:
            return {}
        return {**dict(self.tls_parameters), "ssl_cert_reqs": "required", "ssl_check_hostname": True}


def is_group(url: str) -> bool:
    """Whether an address names several servers."""
    return _scheme(url) in (*SENTINEL, *CLUSTER)


def group_problem(url: str) -> str | None:
    """What is wrong with the address of several servers, or None."""
    try:
        server_group(url)
    except ValueError as error:
        return str(error)
    return None


def server_group(url: str) -> ServerGroup:
    """The servers of an address for which `is_group` holds.

    Raises `ValueError` with the problem and its remedy; it quotes nothing of user, password and parameters.
    """
    scheme, kind = _scheme(url), _scheme(url).partition("+")[2]
    place, _, query = url.partition("://")[2].partition("?")
    authority, _, path = place.partition("/")
    credentials, at, servers = authority.rpartition("@")
    if "@" in credentials + path + query or "#" in url:
        raise ValueError(
            "is not a valid address. Remedy: write user and password once, before the first server, and "
            "percent-encode special characters in them, such as %40 for @ and %2F for /"
        )
    user, password = _credentials(credentials) if at else (None, None)
    hosts = _hosts(servers, kind)
    master, database = _sentinel_path(path) if kind == "sentinel" else ("", _cluster_path(path))
    parameters = _parameters(query, kind)
    return ServerGroup(
        kind=kind,
        hosts=hosts,
        master=master,
        db=database,
        user=user,
        password=password,
        sentinel_user=parameters.pop(_SENTINEL_USER, None),
        sentinel_password=parameters.pop(_SENTINEL_PASSWORD, None),
        tls=scheme.startswith("rediss"),
        tls_parameters=tuple(parameters.items()),
    )


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _credentials(text: str) -> tuple[str | None, str]:
    user, _, password = text.partition(":")
    if not password:
        raise ValueError("names a user without a password. Remedy: write user:password@, or :password@ without a user")
    return unquote(user) or None, unquote(password)


def _hosts(text: str, kind: str) -> tuple[tuple[str, int], ...]:
    hosts: list[tuple[str, int]] = []
    for place, part in enumerate(text.split(","), 1):
        match = _HOST.fullmatch(part)
        if match is None:
            what = "is missing" if not part else f'"{clip(part, 60)}" is not a host name or address'
            raise ValueError(f"server {place} {what}. Remedy: write servers like {_EXAMPLES[kind]}")
        port = match["port"] if match["colon"] else str(_PORTS[kind])
        if not (port.isascii() and port.isdecimal() and 0 < int(port) <= _LAST_PORT):
            raise ValueError(f'port "{clip(port, 20)}" of server {place} is not a number from 1 to {_LAST_PORT}')
        host = (match["name"].strip("[]").lower(), int(port))
        if host in hosts:
            raise ValueError(f"names {clip(part, 60)} twice. Remedy: name each server once")
        hosts.append(host)
    return tuple(hosts)


def _sentinel_path(path: str) -> tuple[str, int]:
    master, slash, database = path.partition("/")
    if not _MASTER.fullmatch(master):
        what = f'"{clip(master, 60)}" is not the name of a primary' if master else "names no primary"
        raise ValueError(f"{what}. Remedy: write it after the sentinels, like {_EXAMPLES['sentinel']}")
    return master, _database(database) if slash and database else 0


def _cluster_path(path: str) -> int:
    if path and _database(path) != 0:
        raise ValueError(f"database {clip(path, 20)}: a Redis Cluster has only database 0. Remedy: leave it out")
    return 0


def _database(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(_LAST_DATABASE))):
        raise ValueError(f'database "{clip(text, 20)}" is not a number. Remedy: write it like /0 at the end')
    return int(text)


def _parameters(query: str, kind: str) -> dict[str, str]:
    own = (_SENTINEL_USER, _SENTINEL_PASSWORD) if kind == "sentinel" else ()
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in own and not name.startswith("ssl_"):
            known = ", ".join((*own, "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))
            raise ValueError(f'"{clip(name, 40)}" is not a parameter of such an address; it takes {known}')
        if name in parameters:
            raise ValueError(f"{clip(name, 40)} is given twice")
        if not value:
            raise ValueError(f"{clip(name, 40)} is empty. Remedy: give it a value, or leave it out")
        parameters[name] = value
    if _SENTINEL_USER in parameters and _SENTINEL_PASSWORD not in parameters:
        raise ValueError(f"names {_SENTINEL_USER} without {_SENTINEL_PASSWORD}. Remedy: add it, or remove the user")
    return parameters
