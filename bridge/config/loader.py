"""Reads and checks bridge.yaml: all problems at once, each as `file:line: path: problem`.

`schemas.py` has the keys of each section, `sources.py` checks what a vendor declares, `cross_checks.py` checks how
sections depend on each other; this module checks how the keys of one section do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from marshmallow import Schema, ValidationError

from bridge.config.access_schema import AccessSchema, subscription_problem
from bridge.config.cross_checks import check_memory, check_retention
from bridge.config.formats import check_format
from bridge.config.kafka_target import check_kafka, kafka_parts
from bridge.config.model import (
    Access,
    BridgeConfig,
    Config,
    Filter,
    Rate,
    Receipts,
    Retention,
    RetryPolicy,
    Source,
    Subscription,
    Token,
    TrustedProxy,
)
from bridge.config.notify_target import check_notify, with_notify_defaults
from bridge.config.schemas import (
    FIELDS,
    NEEDED,
    BridgeSchema,
    FileSchema,
    SourceSchema,
    SubscriptionSchema,
    name_problem,
)
from bridge.config.selection import EVENT_TYPES
from bridge.config.sources import check_source
from bridge.config.sql_target import absolute, check_sql
from bridge.config.templates import routing_key_problems
from bridge.config.yaml_document import Document, KeyPath, parse_yaml, resolve
from bridge.errors import ConfigError, clip
from bridge.net import address_policy
from bridge.sdk.vendor import Vendor
from bridge.text import did_you_mean

__all__ = ["read"]

_LOCAL_URL = "http://127.0.0.1:8080"
#: Checks that only one transport has.
_CHECKS = {"sql": check_sql, "kafka": check_kafka, "notify": check_notify}


def read(
    path: Path,
    *,
    vendors: Mapping[str, Vendor],
    environment: Mapping[str, str],
    broken: Mapping[str, str] = MappingProxyType({}),
    demo: bool = False,
    text: str | None = None,
) -> Config:
    """The checked configuration in the file at `path`, or in `text`, which was read from it before.

    `environment` is what `${NAME}` may name. `broken`: vendors that cannot be loaded -> why. `demo`, or `demo: true` in
    the file, allows literal secrets and a default public address. Relative paths in the file start at its folder.
    Raises `ConfigError` with every problem.
    """
    text = _text(path) if text is None else text
    document = parse_yaml(text, str(path))
    if not isinstance(document.data, dict):
        raise ConfigError(
            f"{path}:1: the file has no sections. Remedy: start from the file that `attempt-bridge config init` writes"
        )
    demo = demo or document.data.get("demo") is True
    resolve(document, environment, path.parent, literals=demo)
    top = _load(FileSchema(), document.data, (), document)
    bridge = _bridge(top.get("bridge", {}), path.parent, demo, document)
    sources = {
        name: _source(name, section, vendors, broken, document) for name, section in _named("sources", top, document)
    }
    subscriptions = {
        name: _subscription(name, section, bridge, sources, (*vendors, *broken), document)
        for name, section in _named("subscriptions", top, document)
    }
    access = _access(top.get("access", {}), subscriptions, document)
    known = {name: source for name, source in sources.items() if source is not None}
    check_memory(bridge, known.values(), document)
    check_retention(bridge, subscriptions.values(), document)
    if document.problems:
        raise document.error()
    return Config(
        path=path,
        bridge=bridge,
        sources=known,
        subscriptions=subscriptions,
        access=access,
        demo=demo,
        text=text,
    )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file. Remedy: write one with `attempt-bridge config init`, or name another file with "
            "--config or ATTEMPT_BRIDGE_CONFIG; `attempt-bridge demo` needs none"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}. Remedy: name a file that this user may read"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 at byte {error.start}. Remedy: save it as UTF-8") from error


def _load(schema: Schema, value: Any, path: KeyPath, document: Document) -> dict[str, Any]:
    """The valid part of a section; problems with the rest are added to the document."""
    try:
        loaded = schema.load(value)
    except ValidationError as error:
        document.add_messages(error.messages, path)
        loaded = error.valid_data
    return loaded if isinstance(loaded, dict) else {}


def _named(section: str, top: Mapping[str, Any], document: Document) -> list[tuple[str, Any]]:
    entries = top.get(section, {})
    if not isinstance(entries, dict):
        document.add((section,), f"must be a section with a name for each of the {section}")
        return []
    for name in entries:
        problem = name_problem(name)
        if problem:
            document.add((section, name), problem)
    return list(entries.items())


def _bridge(section: Any, folder: Path, demo: bool, document: Document) -> BridgeConfig:
    data = _load(BridgeSchema(), section, ("bridge",), document)
    given = section if isinstance(section, dict) else {}
    if given and given.get("public_url") is None and not demo:
        document.add(
            ("bridge", "public_url"),
            "missing. Remedy: write the address under which vendors and receivers reach this bridge, such as "
            f"https://bridge.example.org; {_LOCAL_URL} to try it out",
        )
    retention = Retention(**data.pop("retention", {}))
    data_dir = (folder / data.pop("data_dir", "data")).resolve()
    known = {"name": "", "public_url": _LOCAL_URL, **data}
    return BridgeConfig(**known, retention=retention, data_dir=data_dir)


def _source(
    name: str, section: Any, vendors: Mapping[str, Vendor], broken: Mapping[str, str], document: Document
) -> Source | None:
    data = _load(SourceSchema(), section, ("sources", name), document)
    word = data.get("vendor", "")
    vendor = vendors.get(word)
    if vendor is None and word in broken:
        document.add(("sources", name, "vendor"), broken[word])
    elif word and vendor is None:
        hint, known = did_you_mean(word, vendors), f"Known: {', '.join(sorted(vendors))}"
        remedy = hint if hint == known else f"{hint} {known}"
        document.add(("sources", name, "vendor"), f'"{clip(word, 40)}" is not a vendor. {remedy}')
    return check_source(name, data, vendor, document) if vendor else None


def _subscription(
    name: str,
    section: Any,
    bridge: BridgeConfig,
    sources: Mapping[str, Any],
    vendors: Collection[str],
    document: Document,
) -> Subscription:
    path = ("subscriptions", name)
    data = _load(SubscriptionSchema(), section, path, document)
    given = {key for key, value in section.items() if value is not None} if isinstance(section, dict) else set()
    transport = data.get("transport", "")
    data = with_notify_defaults(data) if transport == "notify" else data
    if transport:
        _check_fields(transport, given, path, document)
        _check_transport(transport, given, data, bridge, sources, path, document)
    _check_filter(data.get("filter", {}), sources, vendors, (*path, "filter"), document)
    parts: dict[str, dict[str, Any]] = {key: data.pop(key, {}) for key in ("filter", "retry", "receipts")}
    rate: dict[str, Any] = data.pop("rate", {})
    if parts["retry"].get("schedule") == []:
        document.add((*path, "retry", "schedule"), "is empty. Remedy: give at least one duration, such as [5s]")
    for part in parts.values():
        part.update({key: tuple(value) for key, value in part.items() if isinstance(value, list)})
    data["secrets"] = tuple(data.get("secrets", ()))
    data |= kafka_parts(data)
    if "url" in data:
        data["url"] = absolute(data["url"], Path(document.name).parent)
    return Subscription(
        **{"transport": "", **data},
        name=name,
        public_url=bridge.public_url,
        filter=Filter(**parts["filter"]),
        retry=RetryPolicy(**parts["retry"]),
        receipts=Receipts(**parts["receipts"]),
        rate=Rate(**{"events": 1, **rate}) if rate else None,
    )


def _check_fields(transport: str, given: set[str], path: KeyPath, document: Document) -> None:
    for key in sorted(given):
        owners = [name for name, keys in FIELDS.items() if key in keys]
        if owners and transport not in owners:
            document.add(
                (*path, key), f"belongs to transport {' or '.join(owners)}, not to {transport}. Remedy: remove it"
            )


def _check_transport(
    transport: str,
    given: set[str],
    data: Mapping[str, Any],
    bridge: BridgeConfig,
    sources: Mapping[str, Any],
    path: KeyPath,
    document: Document,
) -> None:
    needed = NEEDED.get(transport, [])
    # The kind of a broker whose address is refused is unknown; one problem is enough.
    at_bridge = bridge.broker is None and ("bridge", "broker") in document.lines
    unknown = "broker" not in data if "broker" in given else at_bridge
    if transport == "kombu" and not unknown and (*path, "broker") not in document.broken:
        # A named exchange on a Redis broker drops messages without a binding; on AMQP the receiver declares it.
        amqp = (data.get("broker") or bridge.broker or "").startswith("amqp")
        needed = ["exchange"] if amqp else ["queue"]
        for key in given & {"queue" if amqp else "exchange"}:
            server = "an AMQP" if amqp else "a Redis"
            document.add((*path, key), f"{server} broker takes `{needed[0]}` instead. Remedy: write {needed[0]}: ...")
        # If there are no sources yet, the longest possible name stands for them.
        names = list(sources) or ["x" * 63]
        for problem in routing_key_problems(data.get("routing_key", ""), types=EVENT_TYPES, sources=names):
            document.add((*path, "routing_key"), problem)
    for key in needed:
        if key not in given:
            document.add((*path, key), f"missing: transport {transport} needs it")
    url, private = data.get("url"), data.get("allow_private", False)
    if transport == "http" and url and (refused := address_policy.check_url(url, allow_private=private)):
        document.add((*path, "url"), refused)
    if transport in _CHECKS:
        _CHECKS[transport](data, path, document)
    if transport in ("http", "kombu"):
        check_format(given, data, path, document)


def _check_filter(
    filters: Mapping[str, Any],
    sources: Mapping[str, Any],
    vendors: Collection[str],
    path: KeyPath,
    document: Document,
) -> None:
    for place, pattern in enumerate(filters.get("sources", ())):
        if name_problem(pattern) is None and pattern not in sources:
            document.add((*path, "sources", place), f'"{pattern}" is not a source. {did_you_mean(pattern, sources)}')
    # The vendor of events about subscriptions is the bridge itself.
    known = (*vendors, "bridge")
    for pattern in filters.get("vendor", ()):
        if not any(fnmatchcase(name, pattern) for name in known):
            problem = f'"{clip(pattern, 40)}" is not a vendor. {did_you_mean(pattern, known)}'
            document.add((*path, "vendor"), problem)


def _access(section: Any, subscriptions: Collection[str], document: Document) -> Access:
    data = _load(AccessSchema(), section, ("access",), document)
    tokens = data.get("tokens", [])
    names = [token.get("name") for token in tokens]
    for place, name in enumerate(names):
        if name is not None and name in names[:place]:
            document.add(("access", "tokens", place, "name"), f'"{clip(name, 40)}" is already another token\'s name')
    for place, token in enumerate(tokens):
        if problem := subscription_problem(token, subscriptions):
            document.add(("access", "tokens", place, "subscription"), problem)
    proxy = data.get("proxy")
    return Access(
        tokens=tuple(Token(**{"name": "", "role": "", "sha256": "", **token}) for token in tokens),
        viewers_see_persons=data.get("viewers_see_persons", False),
        proxy=_proxy(proxy) if proxy else None,
    )


def _proxy(data: Mapping[str, Any]) -> TrustedProxy:
    roles = {role: tuple(names) for role, names in data.get("roles", {}).items()}
    return TrustedProxy(header=data.get("header", ""), from_=tuple(data.get("from_", ())), roles=roles)
