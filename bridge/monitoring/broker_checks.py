"""Checks of the brokers of the bridge and its subscriptions, and of the exchanges that they publish to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed
from kombu.connection import Connection

from bridge.config import queues
from bridge.config.addresses import amqp_nodes
from bridge.errors import clip
from bridge.monitoring.rabbitmq_checks import alarm, judge_nodes, own_queue, receipts_queue
from bridge.monitoring.sentinel_checks import ask, judge
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding, eviction, visibility
from bridge.monitoring.total_time import within
from bridge.net.broker_address import broker_address
from bridge.net.broker_problems import broker_problem
from bridge.net.server_group import ServerGroup, is_group, server_group
from bridge.net.tls import describe
from bridge.services import Services
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["broker_in_use", "brokers"]

_CONNECT_SECONDS = 3.0
#: Where kombu stores when each unacknowledged message was handed to a worker (kombu/transport/redis.py).
_UNACKED = "unacked_index"


def brokers(services: Services) -> Iterator[Finding]:
    """The findings about every broker, once each however many subscriptions share it."""
    users: dict[str, list[str]] = {services.broker_url: ["the bridge"]}
    exchanges: dict[str, dict[str, str]] = {}
    for subscription in services.config.subscriptions.values():
        if subscription.transport in ("celery", "kombu"):
            url = subscription.broker or services.broker_url
            users.setdefault(url, []).append(subscription.name)
            if subscription.exchange is not None:
                exchanges.setdefault(url, {})[subscription.name] = subscription.exchange
    # Sentinels that the state uses too are judged there.
    judged = {_watched(services.state_url)}
    for url, names in users.items():
        watched = _watched(url)
        group = None if watched is None or watched in judged else server_group(url)
        judged.add(watched)
        label = f"broker of {', '.join(names)}"
        yield Finding(f"connection to the {label}", OK, describe(url))
        try:
            yield from within(
                partial(
                    _broker,
                    url,
                    label,
                    exchanges.get(url, {}),
                    services.now(),
                    is_own=url == services.broker_url,
                    group=group,
                ),
                partial(_late, label),
            )
        except Exception as error:  # noqa: BLE001 - kombu's transports raise the errors of their libraries
            yield Finding(label, FAILURE, *broker_problem(error), unreachable=True)
        if queues.same_server(url, services.state_url):
            yield Finding(
                label,
                WARNING,
                "same database as the state: receivers could read and delete the bridge's keys",
                "use another database for the broker, or better another server",
            )


def _watched(url: str) -> tuple[frozenset[tuple[str, int]], str] | None:
    """The sentinels of an address, and the name of the primary; None without sentinels."""
    if not is_group(url) or server_group(url).kind != "sentinel":
        return None
    group = server_group(url)
    return frozenset(group.hosts), group.master


def _late(label: str, problem: str) -> Finding:
    return Finding(label, FAILURE, problem, "check what listens there, and the network", unreachable=True)


def broker_in_use(services: Services, process: str) -> Iterator[Finding]:
    """A finding if a process uses a different broker from the one in bridge.yaml. Raises `StateUnavailable`."""
    ours = Connection(broker_address(services.broker_url).url).as_uri()
    with state_errors():
        theirs = cast("bytes | None", services.state.get(keys.broker_in_use(process)))
    if theirs is not None and theirs.decode() != ours:
        yield Finding(
            f"broker of {process}",
            FAILURE,
            f"{clip(theirs.decode())}, but the configuration says {clip(ours)}",
            f"restart {process} with this configuration",
        )


def _broker(
    url: str, label: str, exchanges: dict[str, str], now: float, *, is_own: bool, group: ServerGroup | None
) -> Iterator[Finding]:
    if group is not None:
        yield from judge(group, ask(group), label)
    nodes = amqp_nodes(url)
    if len(nodes) > 1:
        problems = {node: _problem(node) for node in nodes}
        yield from judge_nodes(problems)
        answering = [node for node, problem in problems.items() if problem is None]
        if not answering:
            return
        url = answering[0]
    blocked: list[str] = []
    with _connected(url, blocked) as connection:
        if connection.transport.driver_type != "redis":
            yield Finding(label, OK, "answers")
            yield from alarm(connection, label, blocked)
            if is_own:
                yield own_queue(connection, queues.worker_queue(url))
            if is_own and len(nodes) > 1:
                yield from receipts_queue(connection)
            for name, exchange in exchanges.items():
                yield _exchange(connection, f"subscription {name}", exchange)
            return
        client = connection.default_channel.client
        policy = eviction(client.info("memory"))
        oldest = client.zrange(_UNACKED, 0, 0, withscores=True)
    if policy.status == OK:
        yield Finding(label, OK, "answers, noeviction")
    else:
        text = f"maxmemory-policy {policy.text.partition(':')[0]}: messages can be lost"
        yield Finding(label, FAILURE, text, policy.remedy)
    yield visibility(f"visibility timeout, {label}", now - oldest[0][1] if oldest else None)


@contextmanager
def _connected(url: str, blocked: list[str]) -> Iterator[Connection]:
    """A connection. `blocked` gets the reasons of alarms that block it."""
    options: dict[str, object] = {"socket_connect_timeout": _CONNECT_SECONDS, "socket_timeout": _CONNECT_SECONDS}
    if url.startswith("amqp"):
        options = {"read_timeout": _CONNECT_SECONDS, "write_timeout": _CONNECT_SECONDS, "on_blocked": blocked.append}
    address = broker_address(url)
    with Connection(
        address.url,
        ssl=address.ssl,
        connect_timeout=_CONNECT_SECONDS,
        transport_options={**options, **address.options},
    ) as connection:
        connection.ensure_connection(max_retries=1, timeout=_CONNECT_SECONDS)
        yield connection


def _problem(node: str) -> Exception | None:
    """Why a node cannot be used."""
    try:
        with _connected(node, []):
            return None
    except Exception as error:  # noqa: BLE001 - kombu's transports raise the errors of their libraries
        return error


def _exchange(connection: Connection, label: str, exchange: str) -> Finding:
    """Whether the exchange exists, and as the bridge would declare it. Creates nothing."""
    name = f'exchange "{exchange}"'
    try:
        connection.channel().exchange_declare(exchange, "topic", passive=True)
    except NotFound:
        return Finding(
            label,
            WARNING,
            f"{name} does not exist",
            "start the receiver, or let dispatch create it; its user needs the permission configure for that",
        )
    except AccessRefused as error:
        return Finding(label, WARNING, f"the user may not ask for {name}: {clip(error)}", "rabbitmqctl set_permissions")
    try:
        connection.channel().exchange_declare(exchange, "topic", durable=True, auto_delete=False)
    except AccessRefused:
        return Finding(label, OK, f"{name} exists; the user may not configure it, and need not")
    except PreconditionFailed as error:
        problem = f"{name} exists with other settings: {clip(error, 200)}"
        return Finding(label, WARNING, problem, "none needed if that is intended; events are published to it as it is")
    return Finding(label, OK, f"{name} exists")
