"""The schema of the section `access:` of bridge.yaml: tokens, a trusted proxy, what viewers see."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import ip_network
from typing import Any

from marshmallow import fields
from marshmallow.validate import Length

from bridge.config.fields import Text, choice, flag
from bridge.config.section import SectionSchema
from bridge.errors import clip
from bridge.text import did_you_mean

__all__ = ["AccessSchema", "subscription_problem"]

_RECEIVER = "receiver"


def _sha256_problem(text: str) -> str | None:
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return None
    return "is not a SHA-256 in 64 lower-case hex digits. Remedy: printf %s THE_TOKEN | sha256sum"


class TokenSchema(SectionSchema):
    name = Text(required=True)
    role = choice("viewer", "operator", "receiver", required=True)
    subscription = Text()
    sha256 = Text(_sha256_problem, required=True)


def subscription_problem(token: Mapping[str, Any], subscriptions: Collection[str]) -> str | None:
    """What is wrong with a token's `subscription`: a receiver confirms the events of one, other roles have none."""
    role, name = token.get("role"), token.get("subscription")
    if role == _RECEIVER and name is None:
        return "missing: role receiver needs it. Remedy: write the name of the receiver's subscription"
    if name is None or role is None:
        return None
    if role != _RECEIVER:
        return f"belongs to role receiver, not to {role}. Remedy: remove it"
    if name not in subscriptions:
        return f'"{clip(name, 40)}" is not a subscription. {did_you_mean(name, subscriptions)}'
    return None


def _header_problem(text: str) -> str | None:
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,99}", text) and text.lower() not in ("authorization", "cookie", "host"):
        return None
    return f'"{clip(text, 40)}" is not a header for user names; write it like X-Forwarded-User'


def _network_problem(text: str) -> str | None:
    try:
        network = ip_network(text)
    except ValueError:
        return f'"{clip(text, 40)}" is not a network; write it like 10.0.0.0/8 or 10.1.2.3/32'
    if network.prefixlen == 0:
        return "trusts every address, so anybody could claim any name. Remedy: write the networks of the proxy"
    return None


def _names(role: str) -> fields.Field[Any]:
    return fields.List(Text(), error_messages={"invalid": f'must be a list of names, such as {role}: [ann, "ops-*"]'})


class _ProxyRolesSchema(SectionSchema):
    operator = _names("operator")
    viewer = _names("viewer")


class ProxySchema(SectionSchema):
    header = Text(_header_problem, required=True)
    from_ = fields.List(
        Text(_network_problem),
        data_key="from",
        required=True,
        validate=Length(min=1, error="is empty. Remedy: write the networks of the proxy"),
        error_messages={"required": "missing", "invalid": 'must be a list such as ["10.0.0.0/8"]'},
    )
    roles = fields.Nested(_ProxyRolesSchema, required=True, error_messages={"required": "missing"})


class AccessSchema(SectionSchema):
    viewers_see_persons = flag()
    proxy = fields.Nested(ProxySchema)
    tokens = fields.List(fields.Nested(TokenSchema), error_messages={"invalid": "must be a list"})
