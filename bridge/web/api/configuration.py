"""`/api/v1/configuration`: the configuration in use. Rows are built from what is not secret, member by member."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bridge.config.addresses import without_user
from bridge.config.model import Access, Source, Subscription
from bridge.config.notify_target import shown_service
from bridge.config.source_options import may_be_secret
from bridge.config.yaml_document import Reference
from bridge.sdk.vendor import Option
from bridge.services import Services
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, needs, services_here
from bridge.web.api.configuration_shapes import ConfigurationShape
from bridge.web.api.description import described
from schemas.formats import XAPI

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "configuration", __name__, url_prefix="/api/v1/configuration", description="What the bridge is configured to do."
)
_HIDDEN = "****"


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showConfiguration")
@blueprint.response(200, ConfigurationShape, description="The configuration")
def show_configuration() -> dict[str, Any]:
    """Show the configuration in use

    With its defaults, and without secrets: of credentials, signing secrets, tokens and headers it has only names and
    numbers; addresses come without user and password. `attempt-bridge config show` shows the file on the server.
    """
    services = services_here()
    config = services.config
    return {
        "digest": config.digest,
        "demo": config.demo,
        "bridge": _bridge(services),
        "access": _access(config.access),
        "sources": [_source(source, services.vendors[source.vendor].options) for source in config.sources.values()],
        "subscriptions": [_subscription(subscription) for subscription in config.subscriptions.values()],
    }


def _bridge(services: Services) -> dict[str, Any]:
    bridge = services.config.bridge
    kept = bridge.retention
    return {
        "name": bridge.name,
        "public_url": without_user(bridge.public_url),
        "state": without_user(services.state_url),
        "broker": without_user(services.broker_url),
        "data_dir": str(bridge.data_dir),
        "partitions": bridge.partitions,
        "remember_attempts": bridge.remember_attempts,
        "retention": {
            "events": kept.events,
            "requests": kept.requests,
            "dead_letters": kept.dead_letters,
            "audit": kept.audit,
            "deliveries": kept.deliveries,
        },
        "durability": {
            "ack": bridge.durability.ack,
            "replicas": bridge.durability.replicas,
            "within": bridge.durability.within,
        },
    }


def _access(access: Access) -> dict[str, Any]:
    proxy = access.proxy
    return {
        "viewers_see_persons": access.viewers_see_persons,
        "tokens": [{"name": token.name, "role": token.role} for token in access.tokens],
        "proxy": proxy
        and {
            "header": proxy.header,
            "networks": proxy.from_,
            "operators": proxy.roles.get("operator", ()),
            "viewers": proxy.roles.get("viewer", ()),
        },
    }


def _source(source: Source, declared: Mapping[str, Option]) -> dict[str, Any]:
    poll, budget = source.poll, source.budget
    return {
        "name": source.name,
        "vendor": source.vendor,
        "base_url": _address(source.base_url),
        "paused": source.paused,
        "credentials": list(source.credentials),
        "webhook": {"enabled": source.webhook.enabled, "secret_addresses": len(source.webhook.token_sha256)},
        "poll": {
            "enabled": poll.enabled,
            "every": poll.every,
            "overlap": poll.overlap,
            "look_back": poll.look_back,
        },
        "budget": {"calls": budget.calls, "per": budget.per_seconds, "resets_at": budget.resets_at},
        "options": {name: _option(name, value, declared.get(name)) for name, value in source.options.items()},
    }


def _subscription(subscription: Subscription) -> dict[str, Any]:
    wanted, data, receipts = subscription.filter, subscription.data, subscription.receipts
    is_http, is_sql = subscription.transport == "http", subscription.transport == "sql"
    is_kafka = subscription.transport == "kafka"
    authorization, rate = subscription.authorization, subscription.rate
    services = ", ".join(map(shown_service, subscription.urls))
    return {
        "name": subscription.name,
        "transport": subscription.transport,
        "filter": {
            "types": wanted.types,
            "sources": wanted.sources,
            "vendors": wanted.vendor,
            "when": {name: _shown(value) for name, value in wanted.when.items()},
        },
        "data": (data,) if isinstance(data, str) else data,
        "retry_schedule": subscription.retry.schedule,
        "receipts_within": receipts.within if receipts.required else None,
        "broker": None if subscription.broker is None else without_user(subscription.broker),
        "task": subscription.task,
        "queue": subscription.queue,
        "exchange": subscription.exchange,
        "url": (services or None) if subscription.url is None else _address(subscription.url),
        "schema": subscription.schema,
        "table": subscription.table if is_sql else None,
        "create": subscription.create if is_sql else None,
        "servers": subscription.servers,
        "topic": subscription.topic,
        "tls": subscription.tls.enabled if is_kafka else None,
        "sasl": None if subscription.sasl is None else subscription.sasl.mechanism,
        "format": subscription.format if subscription.transport in ("http", "kombu") else None,
        "actor": subscription.actor if subscription.format == XAPI else None,
        "home_page": subscription.home_page,
        "secrets": len(subscription.secrets) if is_http else None,
        "authorization": authorization and ("bearer" if authorization.user is None else "basic"),
        "headers": list(subscription.headers),
        "allow_private": subscription.allow_private,
        "concurrency": subscription.concurrency if is_http else None,
        "rate": rate and {"events": rate.events, "per": rate.per},
        "digest": subscription.digest,
        "templates": list(subscription.templates),
    }


def _address(address: str) -> str:
    """The address; only its host if it comes from the environment: the path of a receiver may be its secret."""
    shown = without_user(address)
    if not isinstance(address, Reference):
        return shown
    parts = urlsplit(shown)
    return f"{parts.scheme}://{parts.netloc}/{_HIDDEN}"


def _option(name: str, value: Any, declared: Option | None) -> str:
    return _HIDDEN if may_be_secret(name, value, declared) else _shown(value)


def _shown(value: Any) -> str:
    """A plain value as JSON, a comparison or a decimal as it is written."""
    if isinstance(value, Mapping):
        value = [f"{key}: {_shown(member)}" for key, member in value.items()]
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | int | float) else str(value)
