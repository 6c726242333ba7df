"""The shapes of the configuration in the API. They have no member for a secret: what is not named here is not shown."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields

__all__ = ["ConfigurationShape"]


class _Shape(Schema):
    class Meta:
        unknown = EXCLUDE


def _text(description: str, *, allow_none: bool = False) -> fields.String:
    return fields.String(required=True, allow_none=allow_none, metadata={"description": description})


def _texts(description: str) -> fields.List[str]:
    return fields.List(fields.String(), required=True, metadata={"description": description})


def _number(description: str) -> fields.Integer:
    return fields.Integer(required=True, metadata={"description": description})


def _seconds(description: str, *, allow_none: bool = False) -> fields.Float:
    return fields.Float(required=True, allow_none=allow_none, metadata={"description": f"{description}, seconds."})


def _flag(description: str) -> fields.Boolean:
    return fields.Boolean(required=True, metadata={"description": description})


def _part(shape: type[Schema], description: str, **options: Any) -> fields.Nested:
    return fields.Nested(shape, required=True, metadata={"description": description}, **options)


class RetentionShape(_Shape):
    """How long things are kept."""

    events = _seconds("Events")
    requests = _seconds("Webhooks as received")
    dead_letters = _seconds("Dead letters")
    audit = _seconds("Audit")
    deliveries = _seconds("Deliveries that have ended")


class DurabilityShape(_Shape):
    """Who must have a write before it is acknowledged."""

    ack = _text("`local`: the state server; `replica`: its replicas too.")
    replicas = _number("Replicas that must confirm, with `replica`.")
    within = _seconds("Time within which they must confirm")


class BridgeShape(_Shape):
    """The section `bridge`."""

    name = _text("Name of the bridge.")
    public_url = _text("Where clients and vendors reach it.")
    state = _text("Address of the state server in use, without user and password.")
    broker = _text("Address of the broker in use, without user and password.")
    data_dir = _text("Directory of its files.")
    partitions = _number("Partitions.")
    remember_attempts = _seconds("How long an attempt is remembered after its last change")
    retention = _part(RetentionShape, "How long things are kept.")
    durability = _part(DurabilityShape, "Who must have a write before it is acknowledged.")


class TokenName(_Shape):
    """A token of the API, by name."""

    name = _text("Its name.")
    role = _text("Its role.")


class ProxyShape(_Shape):
    """A trusted proxy."""

    header = _text("Header with the name of the user.")
    networks = _texts("Networks from which it calls.")
    operators = _texts("Names or patterns of operators.")
    viewers = _texts("Names or patterns of viewers.")


class AccessShape(_Shape):
    """The section `access`."""

    viewers_see_persons = _flag("Whether viewers see names, e-mail addresses, labels and bodies.")
    tokens = fields.List(fields.Nested(TokenName), required=True)
    proxy = _part(ProxyShape, "The trusted proxy, if any.", allow_none=True)


class WebhookShape(_Shape):
    """Webhooks of a source."""

    enabled = _flag("Whether they are received.")
    secret_addresses = _number("How many secret addresses are accepted; 0: the address needs no secret part.")


class PollShape(_Shape):
    """Polls of a source."""

    enabled = _flag("Whether it is polled.")
    every = _seconds("Between two rounds")
    overlap = _seconds("What is read again at each round")
    look_back = _seconds("How far the first round goes back")


class BudgetShape(_Shape):
    """How many calls the vendor allows."""

    calls = _number("Calls in a period.")
    per = _seconds("Length of the period")
    resets_at = _seconds("When a new period begins every day after midnight UTC; null: it slides", allow_none=True)


class SourceShape(_Shape):
    """A source."""

    name = _text("Its name.")
    vendor = _text("Its vendor.")
    base_url = _text("Address of the vendor's API, without user and password.")
    paused = _flag("Whether bridge.yaml pauses it.")
    credentials = _texts("Names of its credentials.")
    webhook = _part(WebhookShape, "Webhooks.")
    poll = _part(PollShape, "Polls.")
    budget = _part(BudgetShape, "Calls that the vendor allows.")
    options = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "Its options as text; `****` for one that comes from the environment."},
    )


class FilterShape(_Shape):
    """Which events a subscription takes."""

    types = _texts("Types or patterns.")
    sources = _texts("Sources or patterns; empty: all.")
    vendors = _texts("Vendors or patterns; empty: all.")
    when = fields.Dict(
        keys=fields.String(), values=fields.String(), required=True, metadata={"description": "Comparisons, as text."}
    )


class RateShape(_Shape):
    """The most that a receiver gets."""

    events = _number("Events in any stretch of the period.")
    per = _seconds("Length of the period")


class SubscriptionShape(_Shape):
    """A subscription. Members of other transports are null."""

    name = _text("Its name.")
    transport = _text("`celery`, `kombu`, `http`, `sql`, `kafka` or `notify`.")
    filter = _part(FilterShape, "Which events it takes.")
    data = _texts("Fields below `data` that are sent, or `full`, or `minimal`.")
    retry_schedule = fields.List(
        fields.Float(), required=True, metadata={"description": "Before each further try, seconds."}
    )
    receipts_within = _seconds("How long a receipt is awaited; null: none is needed", allow_none=True)
    broker = _text("Address of its own broker, without user and password.", allow_none=True)
    task = _text("Celery task.", allow_none=True)
    queue = _text("Queue.", allow_none=True)
    exchange = _text("Exchange.", allow_none=True)
    url = _text(
        "Address of the receiver, or of each service, without user, password and what comes from the environment.",
        allow_none=True,
    )
    schema = _text("Schema of its tables; null: the first of the user's search path.", allow_none=True)
    table = _text("Its table of attempts.", allow_none=True)
    create = fields.Boolean(
        required=True, allow_none=True, metadata={"description": "Whether missing tables are created."}
    )
    servers = _texts("Kafka's bootstrap brokers; empty: another transport.")
    topic = _text("Kafka topic.", allow_none=True)
    tls = fields.Boolean(
        required=True, allow_none=True, metadata={"description": "Whether its Kafka brokers are reached over TLS."}
    )
    sasl = _text("How it signs in to Kafka: the mechanism; null: it does not.", allow_none=True)
    format = _text("`cloudevents`, `xapi` or `caliper`.", allow_none=True)
    actor = _text("xapi: `account` or `mbox`, by which persons are identified.", allow_none=True)
    home_page = _text("xapi: home page of accounts named by the organisation's own ids.", allow_none=True)
    secrets = fields.Integer(
        required=True, allow_none=True, metadata={"description": "How many secrets sign its pushes."}
    )
    authorization = _text("`basic` or `bearer`; null: none.", allow_none=True)
    headers = _texts("Names of the headers that are sent.")
    allow_private = _flag("Whether private addresses are allowed.")
    concurrency = fields.Integer(required=True, allow_none=True, metadata={"description": "Most events under way."})
    rate = _part(RateShape, "The most that it gets; null: no limit.", allow_none=True)
    digest = _seconds("Period of its digests; null: it gets none", allow_none=True)
    templates = _texts("Types and patterns that have templates of the operator's.")


class ConfigurationShape(_Shape):
    """The configuration that the answering process uses, with its defaults."""

    digest = _text("Its number: the beginning of the SHA-256 of bridge.yaml.")
    demo = _flag("Whether it is a demo's.")
    bridge = _part(BridgeShape, "The section `bridge`.")
    access = _part(AccessShape, "The section `access`.")
    sources = fields.List(fields.Nested(SourceShape), required=True)
    subscriptions = fields.List(fields.Nested(SubscriptionShape), required=True)
