"""Checks of state server, broker, processes, subscriptions and sources. Each finding has its remedy.

The checks are pure functions of the facts; `examine` reads the facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from bridge.config import access
from bridge.config.advice import advice_about
from bridge.config.model import Config, Source, Subscription
from bridge.errors import BridgeError, DeliveryFailed, clip
from bridge.monitoring import notify_checks
from bridge.monitoring.broker_checks import brokers
from bridge.monitoring.kafka_checks import topic
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from bridge.monitoring.sql_checks import database
from bridge.monitoring.state_findings import state_findings
from bridge.monitoring.telemetry_checks import telemetry
from bridge.monitoring.total_time import within
from bridge.net import address_policy
from bridge.net.tls import describe
from bridge.quota.budgets import Pause
from bridge.sdk.vendor import Vendor, streams
from bridge.services import Services
from bridge.settings import environment
from bridge.text import duration_text

__all__ = ["FAILURE", "OK", "WARNING", "Finding", "examine"]


def examine(services: Services, *, outward: bool = True, each: bool = True) -> Iterator[Finding]:
    """All findings, in the order in which they are made.

    `outward`: include those that need brokers or the DNS. `each`: include those about single sources and subscriptions.
    """
    now = services.now()
    yield Finding("connection to the state server", OK, describe(services.state_url))
    paused: dict[str, Pause | Finding | None] = {}
    yield from within(
        lambda: state_findings(services, now, paused, each=each),
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
        pause = paused.get(source.name)
        yield pause if isinstance(pause, Finding) else _source(source, services.vendors[source.vendor], pause)


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
