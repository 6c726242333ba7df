"""Checks of state server, broker, processes, subscriptions and sources. Each finding has its remedy.

The checks are pure functions of the facts; `examine` reads the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import cast
from urllib.parse import urlsplit

import redis

from bridge.config import access
from bridge.config.advice import advice_about
from bridge.config.durability import REPLICA, Durability
from bridge.config.model import Config, Source, Subscription
from bridge.delivery.store import Deliveries, SubscriptionState
from bridge.errors import BridgeError, DeliveryFailed, StateUnavailable, clip
from bridge.monitoring import notify_checks
from bridge.monitoring.broker_checks import brokers, brokers_in_use
from bridge.monitoring.cluster_checks import cluster
from bridge.monitoring.kafka_checks import topic
from bridge.monitoring.replica_checks import read_replicas, replicas
from bridge.monitoring.sentinel_checks import ask, judge
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
)
from bridge.monitoring.sql_checks import database
from bridge.monitoring.state_checks import identity, layout, versions
from bridge.monitoring.telemetry_checks import telemetry
from bridge.monitoring.total_time import within
from bridge.net import address_policy
from bridge.net.broker_problems import broker_problem
from bridge.net.server_group import is_group, server_group
from bridge.net.tls import describe, tls_problem
from bridge.quota.budgets import Pause
from bridge.sdk.vendor import Vendor, streams
from bridge.services import Services
from bridge.settings import environment
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.layout import stored_layout
from bridge.state.nodes import primaries
from bridge.state.running import Running, RunningProcesses
from bridge.text import duration_text

__all__ = ["FAILURE", "OK", "WARNING", "Finding", "examine"]

#: A heartbeat older than this is reported; processes write one every few seconds.
_HEARTBEAT_SECONDS = 30.0
_PROCESSES = ("web", "worker", "beat", "dispatch")


def examine(services: Services, *, outward: bool = True, each: bool = True) -> Iterator[Finding]:
    """All findings, in the order in which they are made.

    `outward`: also those that need brokers or the DNS. `each`: also those about single sources and subscriptions.
    """
    now = services.now()
    yield Finding("connection to the state server", OK, describe(services.state_url))
    paused: dict[str, Pause | None] = {}
    yield from within(
        lambda: _state_server(services, now, paused, each=each),
        lambda problem: Finding("state server", FAILURE, problem, "check what listens at bridge.state", True),
    )
    yield _access(services.config, is_open=services.settings.open_access)
    for name, line in services.broken_vendors.items():
        text, _, remedy = line.removeprefix(f"vendor {name}: ").partition(". Remedy: ")
        yield Finding(f"vendor {name}", WARNING, text, remedy)
    yield from telemetry(environment(), outward=outward)
    if outward:
        yield from brokers(services)
    if not each:
        return
    for subscription in services.config.subscriptions.values():
        yield from _transport(subscription, services.config, now, outward=outward)
    for source in services.config.sources.values():
        yield _source(source, services.vendors[source.vendor], paused.get(source.name))


def _state_server(services: Services, now: float, paused: dict[str, Pause | None], *, each: bool) -> Iterator[Finding]:
    """The state server, and what it says about processes and subscriptions; `paused` gets the pauses of sources."""
    if is_group(services.state_url) and (group := server_group(services.state_url)).kind == "sentinel":
        yield from judge(group, ask(group), "state server")
    try:
        with state_errors():
            bridge = services.config.bridge
            findings = list(_state(services.state, services.now, bridge.durability))
            findings += cluster(services.state, bridge.partitions)
    except StateUnavailable as error:
        yield Finding(
            "state server",
            FAILURE,
            *_connection_problem(error, "start it (`attempt-bridge up` starts its own), or correct bridge.state"),
            True,
        )
    else:
        yield from findings
        with state_errors():
            stored = cast("dict[bytes, bytes]", services.state.hgetall(keys.BRIDGE))
            sources = services.config.sources if each else ()
            paused.update({name: services.budgets.paused(name, now) for name in sources})
            beats = {name: cast("bytes | None", services.state.get(keys.heartbeat(name))) for name in _PROCESSES}
            running = RunningProcesses(services.state).read(now)
        yield identity(services.config.bridge, stored)
        yield layout(stored_layout(services.state))
        yield from brokers_in_use(services)
        yield from (_heartbeat(name, None if beat is None else float(beat), now) for name, beat in beats.items())
        yield versions(running)
        yield from _configurations(running, services.config, now)
        if not each:
            return
        deliveries = Deliveries(services.state, partitions=services.config.bridge.partitions)
        orphans = services.orphans()
        for name, state in deliveries.states([*services.config.subscriptions, *orphans], now=now).items():
            yield _orphan(name, state) if name in orphans else _subscription(name, state)


def _state(client: redis.Redis, now: Callable[[], float], acknowledged: Durability) -> Iterator[Finding]:
    """About each server that holds a part of the state."""
    servers = primaries(client)
    for server in servers:
        of = "" if len(servers) == 1 else " of {host}:{port}".format(**server.connection_pool.connection_kwargs)
        for finding in _server(server, now, acknowledged):
            yield replace(finding, name=f"{finding.name}{of}")


def _server(client: redis.Redis, now: Callable[[], float], acknowledged: Durability) -> Iterator[Finding]:
    before = now()
    seconds, microseconds = client.time()
    skew = seconds + microseconds / 1e6 - (before + now()) / 2
    info = client.info()
    yield Finding("state server", OK, f"answers, {info.get('server_name', 'redis')} {product_version(info)}")
    yield version(info)
    yield eviction(info)
    by_replicas = acknowledged.ack == REPLICA
    yield from durability(info, _setting(client, "appendfsync"), status=FAILURE if by_replicas else WARNING)
    if by_replicas:
        yield from replicas(acknowledged, read_replicas(client))
    yield clock_skew(skew)
    yield memory(info)
    yield listpack(_setting(client, "hash-max-listpack-entries"))


def _setting(client: redis.Redis, name: str) -> str | None:
    """A setting of the server; None if its access control denies CONFIG."""
    with suppress(redis.ResponseError):
        settings = cast("dict[str, str]", client.config_get(name))
        return settings.get(name)
    return None


def _heartbeat(name: str, last: float | None, now: float) -> Finding:
    if last is None:
        return Finding(name, WARNING, "no heartbeat", f"start it: attempt-bridge {name}, or attempt-bridge up")
    age = now - last
    if age < -_HEARTBEAT_SECONDS:
        text = f"last heartbeat {-age:.0f} s in the future: the clock was set back, or clocks differ"
        return Finding(name, WARNING, text, f"check that attempt-bridge {name} runs, and the clocks")
    if age <= _HEARTBEAT_SECONDS:
        return Finding(name, OK, f"heartbeat {max(age, 0):.0f} s ago")
    return Finding(name, WARNING, f"last heartbeat {age:.0f} s ago", f"check the log of attempt-bridge {name}")


def _configurations(running: Iterable[Running], config: Config, now: float) -> Iterator[Finding]:
    """Whether each process runs with the file as it is now."""
    for each in running:
        age = duration_text(max(round(now - each.loaded_at), 0.0))
        text = f"{each.digest}, loaded {age} ago"
        if each.digest == config.digest:
            yield Finding(f"configuration of {each.process}", OK, text)
        else:
            differs = f"{text}; the file is {config.digest}"
            yield Finding(f"configuration of {each.process}", WARNING, differs, "attempt-bridge config reload")


def _subscription(name: str, state: SubscriptionState) -> Finding:
    label, resume = f"subscription {name}", f"attempt-bridge subscriptions resume {name}"
    if state.circuit == "disabled":
        return Finding(label, FAILURE, f"disabled: {clip(state.circuit_reason)}", f"fix the receiver, then {resume}")
    if state.circuit == "paused":
        return Finding(label, WARNING, "paused", resume)
    if state.circuit == "open":
        return _stopped(label, "circuit open", state.circuit_reason, "fix the receiver")
    if state.blocked_by:
        return _stopped(label, "blocked", state.blocked_by, "fix that")
    if state.dead_letters:
        remedy = f"attempt-bridge dead-letters list --subscription {name}"
        return Finding(label, WARNING, f"{state.dead_letters} dead letters", remedy)
    waiting = "?" if state.lag is None else state.lag + state.pending
    delivered = state.delivered + state.handed_over
    return Finding(label, OK, f"{delivered} delivered, {waiting} waiting, {state.retrying} to retry")


def _orphan(name: str, state: SubscriptionState) -> Finding:
    waiting = "?" if state.lag is None else state.lag + state.pending
    text = f"no longer in bridge.yaml; {waiting} waiting, {state.retrying} to retry, {state.dead_letters} dead letters"
    remedy = f"add it again, or attempt-bridge subscriptions forget {name}"
    return Finding(f"subscription {name}", WARNING, f"{text}; the journal is kept for it", remedy)


def _stopped(label: str, what: str, reason: str, remedy: str) -> Finding:
    """Nothing is delivered at the moment. The reason may have a remedy of its own."""
    fact, _, own_remedy = reason.partition(". Remedy: ")
    text = f"{what}: {clip(fact, 200)}"
    return Finding(label, WARNING, text, f"{clip(own_remedy) or remedy}; delivery resumes by itself")


def _access(config: Config, *, is_open: bool) -> Finding:
    name, remedy = "API tokens", "attempt-bridge tokens new, then name it under access.tokens"
    if is_open:
        return Finding(name, OK, "none: this demo is open to callers on this machine")
    try:
        tokens = access.tokens(config)
    except BridgeError as error:
        text, _, own_remedy = str(error).partition(". Remedy: ")
        return Finding(name, FAILURE, text, own_remedy)
    if not tokens:
        return Finding(name, WARNING, "none: /api and /metrics answer every request with 401", remedy)
    return Finding(name, OK, ", ".join(f"{token.name} ({token.role})" for token in tokens))


def _connection_problem(error: StateUnavailable, remedy: str) -> tuple[str, str]:
    """(text, remedy) for a state server that cannot be used; a problem of TLS or login has its own remedy."""
    if isinstance(error.__cause__, redis.AuthenticationError):
        return broker_problem(error.__cause__)
    problem = tls_problem(error)
    if problem is None:
        return clip(error.__cause__ or error), remedy
    text, _, tls_remedy = problem.partition(". Remedy: ")
    return text, tls_remedy


def _transport(subscription: Subscription, config: Config, now: float, *, outward: bool) -> Iterator[Finding]:
    label = f"subscription {subscription.name}"
    for pattern in subscription.filter.sources:
        if not any(fnmatchcase(name, pattern) for name in config.sources):
            known = ", ".join(config.sources) or "none"
            yield Finding(label, WARNING, f'filter.sources "{pattern}" matches no source', f"known: {known}")
    for advice in advice_about(subscription, now):
        status = FAILURE if advice.failure else WARNING
        yield Finding(f"{advice.topic} of {label}", status, advice.text, advice.remedy)
    if outward and subscription.transport == "kafka":
        yield from topic(subscription)
    if subscription.transport == "notify" and outward:
        yield from notify_checks.services(subscription)
    if subscription.url is None or not outward:
        return
    if subscription.transport == "sql":
        yield from database(subscription)
        return
    parts = urlsplit(subscription.url)
    port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    try:
        address_policy.resolve(parts.hostname or "", port, allow_private=subscription.allow_private)
    except DeliveryFailed as error:
        yield Finding(label, FAILURE, str(error), "correct the url, or the DNS")


def _source(source: Source, vendor: Vendor, pause: Pause | None) -> Finding:
    label = f"source {source.name}"
    if source.paused:
        return Finding(label, WARNING, "paused in bridge.yaml", "remove paused: true")
    if pause is not None and pause.indefinite:
        status, remedy = WARNING, f"attempt-bridge sources resume {source.name}"
        if not pause.by_operator:
            status, remedy = FAILURE, f"fix the cause, then {remedy}"
        return Finding(label, status, clip(pause.reason, 200), remedy)
    if not source.poll.enabled:
        return Finding(label, OK, "not polled")
    budget = source.budget
    polls = streams(vendor, source.options)
    needed = sum(budget.per_seconds / max(source.poll.every, poll.every or 0.0) for poll in polls.values())
    text = f"{needed:.0f} polls per {duration_text(budget.per_seconds)}, its budget is {budget.calls} calls"
    if needed <= budget.calls:
        return Finding(label, OK, text)
    return Finding(label, WARNING, text, "raise poll.every; polls over the budget wait")
