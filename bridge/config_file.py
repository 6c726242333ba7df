"""Reads and checks bridge.yaml: all problems at once, each as `file:line: path: problem`.

The shape of each section is in `config_shapes.py`; here is what depends on the vendor or on several keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from marshmallow import Schema, ValidationError

from bridge.config import (
    Access,
    BridgeConfig,
    Config,
    Filter,
    PollConfig,
    Receipts,
    Retention,
    RetryPolicy,
    Source,
    Subscription,
    Token,
    WebhookConfig,
)
from bridge.config_fields import did_you_mean, one_or_many
from bridge.config_shapes import AccessShape, BridgeShape, FileShape, SourceShape, SubscriptionShape, name_problem
from bridge.config_vendor import check_credentials, check_options
from bridge.config_yaml import Document, KeyPath, parse_yaml, resolve
from bridge.errors import ConfigError
from bridge.signing import check_webhook_secret, sha256_hex
from bridge.vendor import Vendor

__all__ = ["read"]

_DEMO_URL = "http://127.0.0.1:8080"
#: Which fields belong to a transport; the others of SubscriptionShape are for all.
_FIELDS = {
    "celery": ("task", "queue", "broker", "receipts"),
    "kombu": ("queue", "exchange", "routing_key", "broker", "receipts"),
    "http": ("url", "secrets", "allow_private"),
}


def read(path: Path, *, vendors: Mapping[str, Vendor], environment: Mapping[str, str], demo: bool = False) -> Config:
    """The checked configuration in the file at `path`.

    `environment` is what `${NAME}` may name. `demo`, or `demo: true` in the file, allows literal secrets and a default
    public address. Relative paths in the file start at its folder. Raises `ConfigError` with every problem.
    """
    document = parse_yaml(_text(path), str(path))
    if not isinstance(document.data, dict):
        raise ConfigError(f"{path}:1: the file has no sections. Remedy: start from bridge.example.yaml")
    demo = demo or document.data.get("demo") is True
    resolve(document, environment, path.parent, literals=demo)
    checks = _Checks(document, vendors, demo)
    top = checks.shape(FileShape(), document.data, ())
    bridge = checks.bridge(top.get("bridge"), path.parent)
    sources = {name: checks.source(name, value) for name, value in checks.named("sources", top.get("sources"))}
    subscriptions = {
        name: checks.subscription(name, value, bridge)
        for name, value in checks.named("subscriptions", top.get("subscriptions"))
    }
    access = checks.access(top.get("access"))
    if bridge is not None:
        checks.memory(bridge, sources.values())
    if document.problems:
        raise document.error()
    return Config(
        path=path,
        bridge=_sure(bridge),
        sources={name: _sure(source) for name, source in sources.items()},
        subscriptions={name: _sure(subscription) for name, subscription in subscriptions.items()},
        access=_sure(access),
    )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file. Remedy: copy bridge.example.yaml to {path} and edit it, or name another file with "
            "--config or ATTEMPT_BRIDGE_CONFIG; `attempt-bridge demo` needs none"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}. Remedy: allow this user to read it") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 at byte {error.start}. Remedy: save it as UTF-8") from error


def _sure[T](built: T | None) -> T:
    if built is None:
        raise AssertionError("a section without problems was not built")
    return built
