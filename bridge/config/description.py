"""The configuration as plain data for people, with its defaults and without secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from bridge.config.addresses import is_secret_name, without_password
from bridge.config.formats import XAPI_FIELDS
from bridge.config.model import Authorization, Config, Rate, Source, Subscription
from bridge.config.notify_target import shown_service
from bridge.config.schemas import FIELDS
from bridge.config.yaml_document import Reference
from bridge.net.standard_webhooks import SigningSecret, moment_text, public_key_of
from bridge.query import NumberRange
from bridge.sdk.options import plain
from bridge.text import duration_text, time_of_day_text
from schemas.formats import XAPI

__all__ = ["describe"]

#: Members whose value is in seconds.
_SECONDS = {
    "remember_attempts",
    "events",
    "requests",
    "dead_letters",
    "audit",
    "every",
    "overlap",
    "look_back",
    "within",
}
_SECONDS |= {"per_seconds", "schedule", "digest"}
_SECRETS = {"credentials", "password", "token_sha256", "secrets", "sha256"}
#: Members that are shown in a special form.
_SHOWN: dict[str, Callable[[Any], Any]] = {
    "headers": lambda value: {header: _header(header, text) for header, text in value.items()},
    "options": plain,
    "urls": lambda value: [shown_service(url) for url in value],
}
_ADDRESSES = {"base_url", "broker", "state", "url"}


def describe(config: Config) -> dict[str, Any]:
    """The configuration as plain data with the file's keys, defaults filled in, secrets as `****1f3c`."""
    return {
        "bridge": _described(config.bridge),
        "sources": {name: _section(source) for name, source in config.sources.items()},
        "subscriptions": {name: _section(subscription) for name, subscription in config.subscriptions.items()},
        "access": _described(config.access),
    }


def _section(value: Source | Subscription) -> dict[str, Any]:
    """The section as in the file: without the name, which is the key, and without the fields of other transports."""
    described: dict[str, Any] = _described(value)
    del described["name"]
    if isinstance(value, Source):
        budget = described["budget"]
        described["budget"] = {"calls": budget["calls"], "per": budget["per_seconds"]}
        if value.budget.resets_at is not None:
            described["budget"]["resets"] = time_of_day_text(value.budget.resets_at)
        return described
    others = set().union(*FIELDS.values(), {"public_url"}) - FIELDS[value.transport]
    others |= set() if value.format == XAPI else XAPI_FIELDS
    return {key: member for key, member in described.items() if key not in others and member is not None}


def _described(value: Any, name: str = "") -> Any:
    if name in _SHOWN:
        return _SHOWN[name](value)
    if isinstance(value, Authorization):
        secret = _masked(value.secret)
        return {"bearer": secret} if value.user is None else {"basic": {"user": str(value.user), "password": secret}}
    if name in _SECRETS:
        return _masked(value)
    if name in _ADDRESSES and isinstance(value, str):
        return without_password(value)
    if isinstance(value, Rate):
        return {"events": value.events, "per": duration_text(value.per)}
    if isinstance(value, NumberRange):
        return str(value)
    if hasattr(value, "__dataclass_fields__"):
        described = {member.name: _described(getattr(value, member.name), member.name) for member in fields(value)}
        # `from` is not a name in Python.
        return {name.rstrip("_"): member for name, member in described.items()}
    if isinstance(value, Mapping):
        return {key: _described(member) for key, member in value.items()}
    if isinstance(value, tuple | list):
        return [_described(item, name) for item in value]
    if name in _SECONDS and value is not None:
        return duration_text(value)
    return str(value) if isinstance(value, Path | str) else value


def _header(name: str, value: str) -> str:
    """The value, masked if it comes from outside the file, or its name suggests a secret."""
    return str(_masked(value) if isinstance(value, Reference) or is_secret_name(name) else value)


def _signing_secret(value: SigningSecret) -> Any:
    """The secret as in the file, masked; with a private key comes its public key, which receivers need."""
    masked, public = _masked(value.value), public_key_of(value.value)
    more = {} if public is None else {"public_key": public}
    if value.expires is not None:
        more["expires"] = moment_text(value.expires)
    return {"secret": masked, **more} if more else masked


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(member) for key, member in value.items()}
    if isinstance(value, tuple | list):
        return [_masked(item) for item in value]
    if isinstance(value, SigningSecret):
        return _signing_secret(value)
    # The end of a short secret would reveal too much of it.
    return f"****{value[-4:]}" if len(value) >= 16 else "****"
