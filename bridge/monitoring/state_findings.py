"""What `doctor` finds about the state servers, and in the state about processes and subscriptions.

On a cluster, a server that is away hides what it holds and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import cast

import redis

from bridge.config.durability import REPLICA, Durability
from bridge.config.model import Config
from bridge.delivery.journal_groups import read_groups
from bridge.delivery.status import SubscriptionState, read_states
from bridge.errors import StateUnavailable, clip
from bridge.monitoring.broker_checks import broker_in_use
from bridge.monitoring.cluster_checks import cluster
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
from bridge.monitoring.state_checks import identity, layout, versions
from bridge.net.server_group import is_group, server_group
from bridge.quota.budgets import Pause
from bridge.services import Services
from bridge.state import keys
from bridge.state.cluster.slot_map import Address
from bridge.state.errors import state_errors, state_problem
from bridge.state.layout import stored_layout
from bridge.state.nodes import Reach, primaries, read_reach, require_whole
from bridge.state.running import Running, RunningProcesses
from bridge.text import duration_text

__all__ = ["state_findings"]

#: A heartbeat older than this is reported; processes write one every few seconds.
_HEARTBEAT_SECONDS = 30.0
_PROCESSES = ("web", "worker", "beat", "dispatch")
_START = "start it (`attempt-bridge up` starts its own), or correct bridge.state"
_START_NODE = "start it, or have a replica take its place (CLUSTER FAILOVER FORCE there)"


def state_findings(
    services: Services, now: float, paused: dict[str, Pause | Finding | None], *, each: bool
) -> Iterator[Finding]:
    """The state servers, and what they hold about processes and subscriptions.

    `paused` gets the pauses of sources, or why one is not known. `each`: include findings about single ones.
    """
    if is_group(services.state_url) and (group := server_group(services.state_url)).kind == "sentinel":
        yield from judge(group, ask(group), "state server")
    try:
        with state_errors():
            reach = read_reach(services.state)
            findings = list(_servers(services, reach))
            findings += cluster(services.state, services.config.bridge.partitions)
    except StateUnavailable as error:
        yield Finding("state server", FAILURE, *_problem(error.__cause__ or error, _START), True)
        return
    yield from findings
    if each:
        paused.update((name, _pause(services, reach, name, now)) for name in services.config.sources)
    yield from _bridge(services, reach, now)
    if each:
        yield from _told(reach, "", "subscriptions", partial(_subscriptions, services, reach, now))


def _bridge(services: Services, reach: Reach, now: float) -> Iterator[Finding]:
    """What the state holds once: identity, layout, heartbeats, register of processes."""
    yield from _told(reach, keys.BRIDGE, "partitions", lambda: [_identity(services)])
    yield from _told(reach, keys.BRIDGE, "layout", lambda: [layout(stored_layout(services.state))])
    for name in ("worker", "beat"):
        check = partial(broker_in_use, services, name)
        yield from _told(reach, keys.broker_in_use(name), f"broker of {name}", check)
    for name in _PROCESSES:
        yield from _told(reach, keys.heartbeat(name), name, partial(_read_heartbeat, services, name, now))
    yield from _told(reach, keys.configurations(), "versions", partial(_running, services, now))


def _told(reach: Reach, key: str, name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check that reads a key ("": several), or a finding that it could not be made."""
    try:
        with state_errors():
            if key and not reach.has(key):
                yield Finding(name, WARNING, *_unreached(reach.address_of(key)))
                return
            findings = list(check())
    except StateUnavailable as error:
        findings = [Finding(name, WARNING, f"unknown: {_problem(error.__cause__ or error, _START)[0]}", _START)]
    yield from findings


def _servers(services: Services, reach: Reach) -> Iterator[Finding]:
    """About each server that holds a part of the state. Raises the errors of redis-py."""
    acknowledged = services.config.bridge.durability
    if reach.slots is None:
        require_whole(services.state)
        yield from _server(services.state, services.now, acknowledged)
        return
    for address, server in zip(reach.slots.primaries(), primaries(services.state), strict=True):
        try:
            if address in reach.away:
                raise reach.away[address]
            findings = list(_server(server, services.now, acknowledged))
        except redis.RedisError as error:
            findings = [_away(services, reach, address, error)]
        for finding in findings:
            yield replace(finding, name=f"{finding.name} of {_name(address)}")


def _away(services: Services, reach: Reach, address: Address, error: redis.RedisError) -> Finding:
    """The finding about a primary that does not answer, with what is refused meanwhile."""
    text, remedy = _problem(error, _START_NODE)
    numbers = range(services.config.bridge.partitions)
    held = ", ".join(str(number) for number in numbers if reach.address_of(keys.journal(number)) == address)
    names = [name for name in services.config.sources if reach.address_of(keys.paused(name)) == address]
    sources = f", sources {', '.join(names)}" if names else ""
    return Finding("state server", FAILURE, f"{text}; it holds partitions {held or 'none'}{sources}", remedy, True)


def _pause(services: Services, reach: Reach, source: str, now: float) -> Pause | Finding | None:
    pauses: list[Pause | None] = []

    def read() -> list[Finding]:
        pauses.append(services.budgets.paused(source, now))
        return []

    unknown = next(_told(reach, keys.paused(source), f"source {source}", read), None)
    return unknown or pauses[0]


def _identity(services: Services) -> Finding:
    stored = cast("dict[bytes, bytes]", services.state.hgetall(keys.BRIDGE))
    return identity(services.config.bridge, stored)


def _read_heartbeat(services: Services, name: str, now: float) -> list[Finding]:
    beat = cast("bytes | None", services.state.get(keys.heartbeat(name)))
    return [_heartbeat(name, None if beat is None else float(beat), now)]


def _running(services: Services, now: float) -> Iterator[Finding]:
    running = RunningProcesses(services.state).read(now)
    yield versions(running)
    yield from _configurations(running, services.config, now)


def _subscriptions(services: Services, reach: Reach, now: float) -> Iterator[Finding]:
    orphans, number = services.orphans(reach), services.config.bridge.partitions
    reached = reach.partitions(number)
    journals = read_groups(services.state, reached)
    states = read_states(services.state, [*services.config.subscriptions, *orphans], journals, now=now)
    unread = ", ".join(str(partition) for partition in range(number) if partition not in reached)
    for name, state in states.items():
        finding = _orphan(name, state) if name in orphans else _subscription(name, state)
        if unread:
            text, remedy = f"without partitions {unread}, which are away: {finding.text}", finding.remedy
            status = WARNING if finding.status == OK else finding.status
            finding = replace(finding, status=status, text=text, remedy=remedy or "start the state servers")
        yield finding


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
    """The finding that nothing is delivered at the moment. The reason may have its own remedy."""
    fact, _, own_remedy = reason.partition(". Remedy: ")
    text = f"{what}: {clip(fact, 200)}"
    return Finding(label, WARNING, text, f"{clip(own_remedy) or remedy}; delivery resumes by itself")


def _problem(error: BaseException, remedy: str) -> tuple[str, str]:
    """(text, remedy) for a state server that cannot be used; a problem of its address has its own remedy."""
    text, _, own_remedy = (state_problem(error) or clip(error)).partition(". Remedy: ")
    return text, own_remedy or remedy


def _unreached(address: Address | None) -> tuple[str, str]:
    """(text, remedy) for what cannot be read: its server is away, or no server of the cluster has its slot."""
    if address is None:
        return "unknown: no server has its slot", "give the cluster's slots to servers"
    return f"unknown: {_name(address)} is away", f"start the state server {_name(address)}"


def _name(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
