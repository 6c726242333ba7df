"""The schemas of bridge.yaml: every key, its kind and its range.

What depends on the vendor or on several keys is in `bridge/config/loader.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import fields, pre_load

from bridge.config.addresses import amqp_nodes, literal_secret_problem, unencoded_problem, without_password
from bridge.config.durability import DurabilitySchema
from bridge.config.fields import (
    LOOPBACK,
    Duration,
    Secret,
    Text,
    TimeOfDay,
    choice,
    flag,
    number,
    one_or_many,
    split_address,
    whole_number,
)
from bridge.config.formats import FORMAT_FIELDS
from bridge.config.kafka_target import SaslSchema, Servers, TlsSchema, topic_problem
from bridge.config.notify_target import ServiceAddresses, Templates
from bridge.config.request_headers import AuthorizationField, RequestHeaders
from bridge.config.section import SectionSchema
from bridge.config.selection import FilterSchema, Projection
from bridge.config.signing import SigningSecrets
from bridge.config.sql_target import identifier_problem, is_sql, literal_problem
from bridge.config.templates import broker_name_problem
from bridge.config.yaml_document import Reference
from bridge.errors import clip
from bridge.net.server_group import CLUSTER, SENTINEL, group_problem, is_group
from bridge.net.tls import address_problem
from schemas.formats import FORMATS
from schemas.xapi import ACTORS

__all__ = [
    "FIELDS",
    "NEEDED",
    "BridgeSchema",
    "FileSchema",
    "SourceSchema",
    "SubscriptionSchema",
    "name_problem",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,}")
_STATE_SCHEMES = ("redis", "rediss", "unix", *SENTINEL, *CLUSTER)
_BROKER_SCHEMES = ("redis", "rediss", "redis+socket", *SENTINEL, "amqp", "amqps")
#: Brokers that kombu reaches but for which it cannot keep our promises, by trial or by reading kombu 5.7: why, and what
#: to use instead.
_UNPROVEN_BROKERS = {
    "sqs": "SQS: kombu creates a queue whose name is wrong. Remedy: an http receiver that writes to it",
    "sentinel": "sentinel://, which has no place for the name of the primary. "
    "Remedy: write redis+sentinel://h1:26379,h2,h3/mymaster/1",
    **dict.fromkeys(CLUSTER, "a Redis Cluster: kombu has no transport for it. Remedy: redis+sentinel:// or RabbitMQ"),
    "gcpubsub": "Pub/Sub: kombu does not wait for its confirmation. Remedy: an http receiver that writes to it",
    **dict.fromkeys(("kafka", "confluentkafka"), "Kafka: kombu waits for no confirmation. Remedy: transport: kafka"),
}
#: The fields of SubscriptionSchema that belong to a transport; all others are common to all transports.
FIELDS = {
    "celery": {"task", "queue", "broker", "receipts"},
    "kombu": {"queue", "exchange", "routing_key", "broker", "receipts", *FORMAT_FIELDS},
    "http": {"url", "secrets", "headers", "authorization", "allow_private", "concurrency", "rate", *FORMAT_FIELDS},
    "sql": {"url", "schema", "table", "create"},
    "kafka": {"servers", "topic", "tls", "sasl"},
    "notify": {"urls", "templates", "digest", "allow_private", "rate"},
}
#: Those that it requires. What kombu requires depends on its broker; whether http requires secrets, on the format.
NEEDED = {
    "celery": ["task", "queue"],
    "http": ["url"],
    "sql": ["url"],
    "kafka": ["servers", "topic"],
    "notify": ["urls"],
}


def name_problem(name: str) -> str | None:
    """What is wrong with the name of a bridge, source or subscription, or None."""
    if _NAME.fullmatch(name):
        return None
    return f'"{clip(name, 70)}" is not a valid name; use 1 to 63 of a-z, 0-9 and -, not starting with -'


def _base_problem(text: str) -> str | None:
    parts = split_address(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f'"{clip(without_password(text))}" is not a valid web address; write it like https://bridge.example.org'
    if "@" in parts.netloc:
        return "holds a user name or password; leave it out"
    if parts.query or parts.fragment or text.endswith("/"):
        return (
            f"must end before the last / and any ? or #; write {parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        )
    return None


def _home_page_problem(text: str) -> str | None:
    parts = split_address(text)
    if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc:
        return None
    return f'"{clip(without_password(text))}" is not a home page of accounts; write it like https://id.example.org'


def _vendor_address_problem(text: str) -> str | None:
    parts = split_address(text)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        return "would send the vendor's credentials unencrypted; use https://"
    return _base_problem(text)


def _server_problem(text: str, schemes: tuple[str, ...], instead: str) -> str | None:
    scheme = text.partition("://")[0].lower() if is_group(text) else split_address(text).scheme
    if scheme not in schemes:
        shown = f'"{clip(scheme, 30)}://"' if scheme else "an address without a scheme"
        return f"{shown} is not supported in this version; {instead}"
    problem = None if isinstance(text, Reference) else literal_secret_problem(text)
    own = group_problem if is_group(text) else unencoded_problem
    return problem or own(text) or address_problem(text)


def state_problem(text: str) -> str | None:
    """What is wrong with the address of a state server, or None."""
    return _server_problem(text, _STATE_SCHEMES, f"use one of {', '.join(_STATE_SCHEMES)}")


def broker_problem(text: str) -> str | None:
    """What is wrong with the address of a broker, or None."""
    unproven = _UNPROVEN_BROKERS.get(text.partition("://")[0].lower())
    if unproven is not None:
        return f"is not supported over {unproven}"
    return _server_problem(text, _BROKER_SCHEMES, f"use one of {', '.join(_BROKER_SCHEMES)}")


def _receivers_broker_problem(text: str) -> str | None:
    if len(amqp_nodes(text)) > 1:
        return "names several servers, which only bridge.broker supports. Remedy: give one, or a load balancer"
    return broker_problem(text)


def _receiver_problem(text: str) -> str | None:
    if is_sql(text):
        return literal_problem(text)
    # A user name or password is refused in any case: see address_policy.
    place, _, query = text.rpartition("@")[2].partition("?")
    return None if isinstance(text, Reference) else literal_secret_problem(f"{place}?{query}")


def _token_problem(text: str) -> str | None:
    if _TOKEN.fullmatch(text):
        return None
    return (
        "must be 22 or more of A-Z a-z 0-9 _ - so that nobody can guess it. "
        "Remedy: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
    )


class RetentionSchema(SectionSchema):
    events = Duration("1m")
    requests = Duration("1m")
    dead_letters = Duration("1m")
    audit = Duration("1d")
    deliveries = Duration("1m")


class BridgeSchema(SectionSchema):
    name = Text(name_problem, required=True)
    public_url = Text(_base_problem)
    state = Text(state_problem)
    broker = Text(broker_problem)
    data_dir = Text()
    partitions = whole_number(1, 64)
    remember_attempts = Duration("1d")
    retention = fields.Nested(RetentionSchema)
    durability = fields.Nested(DurabilitySchema)


class WebhookSchema(SectionSchema):
    enabled = flag()
    token = fields.List(Secret(_token_problem))

    @pre_load
    def _listed(self, data: Any, **_: Any) -> Any:
        if isinstance(data, Mapping) and data.get("token") is not None:
            return {**data, "token": one_or_many(data["token"])}
        return data


class PollSchema(SectionSchema):
    enabled = flag()
    every = Duration("1s", "7d")
    overlap = Duration("0s", "7d")
    look_back = Duration("1m", "365d")


class BudgetSchema(SectionSchema):
    calls = whole_number(1, 1_000_000)
    per = Duration("1s", "31d")
    resets = TimeOfDay()


class SourceSchema(SectionSchema):
    """`credentials` and `options` are declared by the vendor's folder and checked against it."""

    vendor = Text(required=True)
    base_url = Text(_vendor_address_problem)
    credentials = fields.Dict(error_messages={"invalid": "must be a section of keys"})
    webhook = fields.Nested(WebhookSchema)
    poll = fields.Nested(PollSchema)
    budget = fields.Nested(BudgetSchema)
    options = fields.Dict(error_messages={"invalid": "must be a section of keys"})
    paused = flag()


class RetrySchema(SectionSchema):
    schedule = fields.List(Duration("1ms", "7d"), error_messages={"invalid": "must be a list such as [5s, 5m, 30m]"})
    jitter = number(0, 1)


class ReceiptsSchema(SectionSchema):
    required = flag()
    within = Duration("1s", "7d")


class RateSchema(SectionSchema):
    events = whole_number(1, 1_000_000, required=True)
    per = Duration("1s", "1d")


class SubscriptionSchema(SectionSchema):
    """The fields of all transports; `bridge/config/loader.py` checks which belong to which transport."""

    transport = choice("celery", "kombu", "http", "sql", "kafka", "notify", required=True)
    filter = fields.Nested(FilterSchema)
    retry = fields.Nested(RetrySchema)
    data = Projection()
    receipts = fields.Nested(ReceiptsSchema)
    broker = Text(_receivers_broker_problem)
    task = Text(broker_name_problem)
    queue = Text(broker_name_problem)
    exchange = Text(broker_name_problem)
    routing_key = Text()
    url = Text(_receiver_problem)
    secrets = SigningSecrets()
    headers = RequestHeaders()
    authorization = AuthorizationField()
    allow_private = flag()
    concurrency = whole_number(1, 512)
    rate = fields.Nested(RateSchema)
    schema = Text(identifier_problem)
    table = Text(identifier_problem)
    create = flag()
    servers = Servers()
    topic = Text(topic_problem)
    tls = fields.Nested(TlsSchema)
    sasl = fields.Nested(SaslSchema)
    urls = ServiceAddresses()
    templates = Templates()
    digest = Duration("1m", "1d")
    format = choice(*FORMATS)
    actor = choice(*ACTORS)
    home_page = Text(_home_page_problem)


class FileSchema(SectionSchema):
    """The top level. Sources and subscriptions are checked one at a time, so that each names its own problems."""

    demo = flag()
    bridge = fields.Raw(required=True, error_messages={"required": "missing. Remedy: add it; it names the bridge"})
    sources = fields.Raw()
    subscriptions = fields.Raw()
    access = fields.Raw()
