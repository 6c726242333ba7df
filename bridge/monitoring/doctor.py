"""Checks of what the bridge stands on: state server, broker, processes, subscriptions. Each finding has its remedy.

The judgements are pure functions of what was read; `examine` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import cast
from urllib.parse import urlsplit

import redis
from kombu.connection import Connection

from bridge.config import access, queues
from bridge.config.model import BridgeConfig, Config, Source, Subscription
from bridge.delivery.store import Deliveries, SubscriptionState
from bridge.errors import BridgeError, BrokerUnavailable, ConfigError, DeliveryFailed, StateUnavailable, clip
from bridge.monitoring.server_checks import (
    FAILURE,
    OK,
    WARNING,
    Finding,
    clock_skew,
    durability,
    eviction,
    listpack,
    memory,
    product_version,
    version,
    visibility,
)
from bridge.net import address_policy
from bridge.net.tls import broker_address, describe, tls_problem
from bridge.quota.budgets import Pause
from bridge.sdk.vendor import Vendor
from bridge.services import Services
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.text import duration_text

__all__ = ["FAILURE", "OK", "WARNING", "Finding", "examine", "require_safe_state", "require_same_bridge"]

#: A process writes its heartbeat at least every few seconds.
_HEARTBEAT_SECONDS = 30.0
_CONNECT_SECONDS = 3.0
#: Where kombu notes when each message was handed to a worker and not acknowledged since (kombu/transport/redis.py).
_UNACKED = "unacked_index"
_PROCESSES = ("web", "worker", "beat", "dispatch")


def require_safe_state(client: redis.Redis) -> None:
    """What every process asks before its first write.

    Raises `ConfigError` for a server that would forget attempts or lacks commands, `StateUnavailable` if none answers.
    """
    with state_errors():
        info = client.info()
    problems = [found for found in (version(info), eviction(info)) if found.status == FAILURE]
    if problems:
        raise ConfigError(*(f"state server: {found.name}: {found.text}. Remedy: {found.remedy}" for found in problems))


def require_same_bridge(client: redis.Redis, bridge: BridgeConfig) -> None:
    """Fix name and partitions at the first start; later ones must have the same, or attempts would not be found again.

    Raises `ConfigError` for another bridge, `StateUnavailable`.
    """
    with state_errors():
        client.hsetnx(keys.BRIDGE, "name", bridge.name)
        client.hsetnx(keys.BRIDGE, "partitions", str(bridge.partitions))
        finding = _fixed(bridge, cast("dict[bytes, bytes]", client.hgetall(keys.BRIDGE)))
    if finding.status == FAILURE:
        raise ConfigError(f"{finding.text}. Remedy: {finding.remedy}")


def examine(services: Services) -> Iterator[Finding]:
    """All findings, one by one as they are made."""
    now = services.now()
    yield Finding("connection to the state server", OK, describe(services.state_url))
    paused: dict[str, Pause | None] = {}
    try:
        with state_errors():
            found = list(_state(services.state, services.now))
    except StateUnavailable as error:
        yield Finding(
            "state server",
            FAILURE,
            *_why_not(error, "start it (`attempt-bridge up` has its own), or mend bridge.state"),
            True,
        )
    else:
        yield from found
        with state_errors():
            fixed = cast("dict[bytes, bytes]", services.state.hgetall(keys.BRIDGE))
            paused = {name: services.budgets.paused(name, now) for name in services.config.sources}
            beats = {name: cast("bytes | None", services.state.get(keys.heartbeat(name))) for name in _PROCESSES}
        yield _fixed(services.config.bridge, fixed)
        yield from (_heartbeat(name, None if beat is None else float(beat), now) for name, beat in beats.items())
        deliveries = Deliveries(services.state, partitions=services.config.bridge.partitions)
        for name in services.config.subscriptions:
            yield _delivering(name, deliveries.state(name, now=now))
    yield _access(services.config)
    yield from _brokers(services)
    for subscription in services.config.subscriptions.values():
        yield from _transport(subscription, services.config)
    for source in services.config.sources.values():
        yield _calls(source, services.vendors[source.vendor], paused.get(source.name))


def _state(client: redis.Redis, now: Callable[[], float]) -> Iterator[Finding]:
    before = now()
    seconds, microseconds = client.time()
    skew = seconds + microseconds / 1e6 - (before + now()) / 2
    info = client.info()
    yield Finding("state server", OK, f"answers, {info.get('server_name', 'redis')} {product_version(info)}")
    yield version(info)
    yield eviction(info)
    yield from durability(info, _setting(client, "appendfsync"))
    yield clock_skew(skew)
    yield memory(info)
    yield listpack(_setting(client, "hash-max-listpack-entries"))


def _setting(client: redis.Redis, name: str) -> str | None:
    """One setting of the server; None where an access list keeps CONFIG from us."""
    with suppress(redis.ResponseError):
        found = cast("dict[str, str]", client.config_get(name))
        return found.get(name)
    return None


def _fixed(bridge: BridgeConfig, stored: Mapping[bytes, bytes]) -> Finding:
    fixed = {name.decode(): value.decode() for name, value in stored.items()}
    if not fixed:
        return Finding("partitions", OK, f"{bridge.partitions}, fixed at the first start")
    for member, given in (("partitions", str(bridge.partitions)), ("name", bridge.name)):
        if fixed.get(member, given) != given:
            return Finding(
                member,
                FAILURE,
                f"bridge.{member} is {given}, but this state was begun with {fixed[member]}",
                f"write bridge.{member}: {fixed[member]}, or give another state",
            )
    return Finding("partitions", OK, str(bridge.partitions))


def _heartbeat(name: str, last: float | None, now: float) -> Finding:
    if last is None:
        return Finding(name, WARNING, "no heartbeat", f"start it: attempt-bridge {name}, or attempt-bridge up")
    age = now - last
    if age <= _HEARTBEAT_SECONDS:
        return Finding(name, OK, f"heartbeat {max(age, 0):.0f} s ago")
    return Finding(name, WARNING, f"last heartbeat {age:.0f} s ago", f"look at the log of attempt-bridge {name}")


def _delivering(name: str, state: SubscriptionState) -> Finding:
    label, resume = f"subscription {name}", f"attempt-bridge subscriptions resume {name}"
    if state.circuit == "disabled":
        return Finding(label, FAILURE, f"disabled: {clip(state.circuit_reason)}", f"mend the receiver, then {resume}")
    if state.circuit == "paused":
        return Finding(label, WARNING, "paused", resume)
    if state.circuit == "open":
        return Finding(
            label, WARNING, f"waits: {clip(state.circuit_reason)}", "mend the receiver; it goes on by itself"
        )
    if state.blocked_by:
        return Finding(label, WARNING, f"waits: {clip(state.blocked_by)}", "mend that; it goes on by itself")
    if state.dead_letters:
        look = f"attempt-bridge dead-letters list --subscription {name}"
        return Finding(label, WARNING, f"{state.dead_letters} dead letters", look)
    waiting = "?" if state.lag is None else state.lag + state.pending
    done = state.delivered + state.handed_over
    return Finding(label, OK, f"{done} delivered, {waiting} waiting, {state.retrying} to be tried again")


def _access(config: Config) -> Finding:
    name, remedy = "API tokens", "attempt-bridge tokens new, then name it under access.tokens"
    try:
        found = access.tokens(config)
    except BridgeError as error:
        text, _, told = str(error).partition(". Remedy: ")
        return Finding(name, FAILURE, text, told)
    if not found:
        return Finding(name, WARNING, "none: every call of /api and /metrics is answered 401", remedy)
    return Finding(name, OK, ", ".join(f"{one.name} ({one.role})" for one in found))


def _brokers(services: Services) -> Iterator[Finding]:
    users: dict[str, list[str]] = {services.broker_url: ["the bridge"]}
    for subscription in services.config.subscriptions.values():
        if subscription.transport != "http":
            users.setdefault(subscription.broker or services.broker_url, []).append(subscription.name)
    for url, names in users.items():
        label = f"broker of {', '.join(names)}"
        yield Finding(f"connection to the {label}", OK, describe(url))
        try:
            yield from _broker(url, label, services.now())
        except BrokerUnavailable as error:
            yield Finding(label, FAILURE, *_why_not(error, "start it, or mend the address in bridge.yaml"), True)
        if queues.same_server(url, services.state_url):
            yield Finding(
                label,
                WARNING,
                "is the same database as the state: receivers could read and delete the bridge's keys",
                "give the broker another database, or better another server",
            )


def _broker(url: str, label: str, now: float) -> Iterator[Finding]:
    options = {"socket_connect_timeout": _CONNECT_SECONDS, "socket_timeout": _CONNECT_SECONDS}
    address = broker_address(url)
    with Connection(
        address.url,
        ssl=address.ssl,
        connect_timeout=_CONNECT_SECONDS,
        transport_options={} if url.startswith("amqp") else options,
    ) as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=_CONNECT_SECONDS)
            if connection.transport.driver_type != "redis":
                yield Finding(label, OK, "answers")
                return
            client = connection.default_channel.client
            policy = eviction(client.info("memory"))
            oldest = client.zrange(_UNACKED, 0, 0, withscores=True)
        except Exception as error:
            # kombu's transports raise whatever their libraries do; every one of them means the same here.
            raise BrokerUnavailable(f"{type(error).__name__}: {clip(error)}") from error
    if policy.status == OK:
        yield Finding(label, OK, "answers, noeviction")
    else:
        text = f"maxmemory-policy {policy.text.partition(':')[0]}: messages vanish"
        yield Finding(label, FAILURE, text, policy.remedy)
    yield visibility(f"visibility timeout, {label}", now - oldest[0][1] if oldest else None)


def _why_not(error: Exception, remedy: str) -> tuple[str, str]:
    """Text and remedy for a server that cannot be used: trouble in TLS has a remedy of its own."""
    problem = tls_problem(error)
    if problem is None:
        return clip(error.__cause__ or error) if isinstance(error, StateUnavailable) else str(error), remedy
    text, _, told = problem.partition(". Remedy: ")
    return text, told


def _transport(subscription: Subscription, config: Config) -> Iterator[Finding]:
    label = f"subscription {subscription.name}"
    for pattern in subscription.filter.sources:
        if not any(fnmatchcase(name, pattern) for name in config.sources):
            known = ", ".join(config.sources) or "none"
            yield Finding(label, WARNING, f'filter.sources "{pattern}" fits no source', f"known: {known}")
    if subscription.url is None:
        return
    parts = urlsplit(subscription.url)
    port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    try:
        address_policy.resolve(parts.hostname or "", port, allow_private=subscription.allow_private)
    except DeliveryFailed as error:
        yield Finding(label, FAILURE, str(error), "mend url, or the name server")


def _calls(source: Source, vendor: Vendor, pause: Pause | None) -> Finding:
    label = f"source {source.name}"
    if source.paused:
        return Finding(label, WARNING, "paused in bridge.yaml", "remove paused: true")
    if pause is not None and pause.indefinite:
        status, remedy = WARNING, f"attempt-bridge sources resume {source.name}"
        if not pause.by_operator:
            status, remedy = FAILURE, f"put it right, then {remedy}"
        return Finding(label, status, clip(pause.reason, 200), remedy)
    if not source.poll.enabled:
        return Finding(label, OK, "not polled")
    budget = source.budget
    needed = sum(budget.per_seconds / max(source.poll.every, one.every or 0.0) for one in vendor.polls.values())
    text = f"{needed:.0f} polls per {duration_text(budget.per_seconds)}, its budget is {budget.calls} calls"
    if needed <= budget.calls:
        return Finding(label, OK, text)
    return Finding(label, WARNING, text, "raise poll.every; what is over the budget waits")
