"""Where and how a subscription of transport `kafka` writes: servers, topic, TLS and SASL as they are in bridge.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields

from bridge.config.fields import LOOPBACK, Secret, Text, choice, flag, one_or_many
from bridge.config.section import SectionSchema
from bridge.config.yaml_document import Document, KeyPath
from bridge.errors import clip

__all__ = [
    "KafkaSasl",
    "KafkaTls",
    "SaslSchema",
    "Servers",
    "TlsSchema",
    "check_kafka",
    "kafka_parts",
    "topic_problem",
]

_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_MOST_SERVERS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTls:
    """How brokers are verified, and the client's own certificate. Paths of PEM files; None: the CAs of this system."""

    enabled: bool = True
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSasl:
    """How the bridge signs in to the brokers."""

    mechanism: str
    user: str
    password: str = field(repr=False)


class Servers(fields.Field[tuple[str, ...]]):
    """One `host:port`, or a list of them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> tuple[str, ...]:
        servers = one_or_many(value)
        if not 1 <= len(servers) <= _MOST_SERVERS:
            raise ValidationError(f"has {len(servers)} servers. Remedy: name 1 to {_MOST_SERVERS}")
        problems: dict[int, list[str]] = {}
        for place, server in enumerate(servers):
            try:
                Text(_server_problem).deserialize(server)
            except ValidationError as error:
                problems[place] = [str(message) for message in error.messages]
        if problems:
            raise ValidationError(dict(problems) if isinstance(value, list) else problems[0])
        return tuple(str(server) for server in servers)


class TlsSchema(SectionSchema):
    enabled = flag()
    ca = Text()
    certificate = Text()
    key = Text()


class SaslSchema(SectionSchema):
    mechanism = choice(*_MECHANISMS, required=True)
    user = Text(required=True)
    password = Secret(required=True)


def topic_problem(text: str) -> str | None:
    """What is wrong with the name of a topic, or None."""
    if _TOPIC.fullmatch(text) and text not in (".", ".."):
        return None
    return f'"{clip(text, 60)}" is not a valid name; use 1 to 249 of A-Z, a-z, 0-9, ., _ and -'


def check_kafka(data: Mapping[str, Any], path: KeyPath, document: Document) -> None:
    """Add the problems of a subscription that depend on several of its keys, and of its files."""
    tls, sasl = data.get("tls", {}), data.get("sasl", {})
    given = [name for name in ("ca", "certificate", "key") if name in tls]
    if tls.get("enabled") is False:
        for name in given:
            document.add((*path, "tls", name), "belongs to TLS, which enabled: false turns off. Remedy: remove one")
        far = [server for server in data.get("servers", ()) if server.rpartition(":")[0] not in LOOPBACK]
        if sasl.get("mechanism") == "PLAIN" and far:
            document.add((*path, "tls", "enabled"), "would send the password unencrypted. Remedy: use TLS, or SCRAM")
        return
    for name in given:
        # A relative path would depend on where the process was started.
        if not Path(tls[name]).is_absolute() or not Path(tls[name]).is_file():
            document.add(
                (*path, "tls", name), "is not a readable file. Remedy: give its absolute path, such as /etc/ssl/ca.pem"
            )
    for name, other in (("certificate", "key"), ("key", "certificate")):
        if name in tls and other not in tls:
            document.add((*path, "tls", name), f"needs the other half. Remedy: add {other}, or remove it")


def kafka_parts(data: Mapping[str, Any]) -> dict[str, Any]:
    """The sections `tls` and `sasl`, if they are there."""
    parts: dict[str, Any] = {}
    if "tls" in data:
        parts["tls"] = KafkaTls(**data["tls"])
    if "sasl" in data:
        parts["sasl"] = KafkaSasl(**{"mechanism": "", "user": "", "password": "", **data["sasl"]})
    return parts


def _server_problem(text: str) -> str | None:
    match = _SERVER.fullmatch(text)
    if match and 0 < int(match[1]) < 65_536:
        return None
    return f'"{clip(text, 60)}" is not a server; write it like kafka1.example.org:9092'
