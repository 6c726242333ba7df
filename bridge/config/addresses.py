"""Addresses that contain a password: how they are shown, and where a password must not be."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

__all__ = [
    "amqp_nodes",
    "is_secret_name",
    "literal_secret_problem",
    "unencoded_problem",
    "without_password",
    "without_user",
]

#: Parameters whose values may be shown; any other may be a secret.
_SHOWN = frozenset({"db", "protocol", "socket_connect_timeout", "socket_timeout", "virtual_host"})
_SHOWN_PREFIX = "ssl"
#: Key of an Azure function.
_SECRET_NAMES = frozenset({"code"})
#: Separates the addresses of several RabbitMQ nodes, as Celery takes them.
_NEXT_NODE = re.compile(r";(?=amqps?://)", re.IGNORECASE)
_SECRET_WORDS = ("auth", "cookie", "credential", "key", "pass", "pwd", "secret", "sig", "token")


def amqp_nodes(address: str) -> list[str]:
    """The addresses in `amqp://a;amqp://b`, of several RabbitMQ nodes; any other address as the only one."""
    return _NEXT_NODE.split(address) if address.lower().startswith("amqp") else [address]


def without_password(address: str) -> str:
    """The address of a server or receiver as it may be shown: without its password, and parameters that may be one.

    A password may hold any character, even unencoded: everything up to the last @ counts as user and password.
    """
    nodes = amqp_nodes(address)
    if len(nodes) > 1 and len({"@" in node for node in nodes}) == 1:
        return ";".join(map(without_password, nodes))
    # If only one has an @, what looks like the next address may be part of a password.
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    credentials, at, rest = ("", "", rest) if rest.startswith("/") else rest.rpartition("@")
    if "?" in credentials:
        return f"{scheme}://****"  # in the password, or before an @ in the parameters: impossible to tell
    user, colon, _ = credentials.partition(":")
    shown = f"{user if colon else ''}{colon}****@" if at else ""
    place, question, query = rest.partition("?")
    return f"{scheme}://{shown}{place}{question}{'&'.join(_parameter(part) for part in query.split('&'))}"


def without_user(address: str) -> str:
    """As `without_password`, also without the user; `****` for anything that is not an address."""
    nodes = amqp_nodes(address)
    if len(nodes) > 1:
        return ";".join(map(without_user, nodes))
    scheme, mark, rest = without_password(address).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if mark else "****"


def literal_secret_problem(address: str) -> str | None:
    """Where an address written in the file itself holds a password, or None."""
    remedy = "Remedy: write it as ${ENV_NAME}, in whole or in part"
    scheme, _, rest = address.partition("://")
    credentials, at, _ = ("", "", rest) if rest.startswith("/") else rest.rpartition("@")
    if at and (":" in credentials or scheme.startswith("redis")):
        return f"holds a literal password. {remedy}"
    if any(is_secret_name(name) for name, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True)):
        return f"holds a literal password in its parameters. {remedy}"
    return None


def unencoded_problem(address: str) -> str | None:
    """The problem if user or password hold a character that ends them too early, or None."""
    nodes = amqp_nodes(address)
    if len(nodes) > 1:
        return next((problem for node in nodes if (problem := unencoded_problem(node)) is not None), None)
    parts = urlsplit(address)
    if parts.netloc and ("@" in parts.path + parts.query + parts.fragment or not parts.hostname):
        return "is not a valid address. Remedy: percent-encode special characters in the password, such as %2F for /"
    return None


def _parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    shown = name.lower() in _SHOWN or (name.lower().startswith(_SHOWN_PREFIX) and not is_secret_name(name))
    return text if not equals or shown else f"{name}=****"


def is_secret_name(name: str) -> bool:
    """Whether the value of a parameter or header with this name may be a secret."""
    name = name.lower()
    if name.startswith("ssl_"):
        return False
    return name in _SECRET_NAMES or any(word in name for word in _SECRET_WORDS)
