"""The queues that the bridge itself reads on its own broker, and which addresses name the same server."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from bridge.config.addresses import amqp_nodes
from bridge.net.server_group import ServerGroup, is_group, server_group

__all__ = ["OWN", "RECEIPTS", "TICKS_ARGUMENTS", "WORKER", "is_own", "same_server", "worker_queue"]

#: Ticks from beat to the worker.
WORKER = "attempt-bridge"
#: The same on an AMQP broker, under a name of its own: a queue cannot be declared again with other arguments.
_TICKS = "attempt-bridge.ticks"
#: A copy on each node of the cluster. Ticks expire within this time; without a worker they must not pile up.
TICKS_ARGUMENTS = {"x-queue-type": "quorum", "x-message-ttl": 3_600_000}
#: Receipts from receivers to dispatch.
RECEIPTS = "attempt-bridge.receipts"
OWN = (WORKER, RECEIPTS)

#: kombu's Redis lists of a queue by priority are `<queue><this><priority>`.
_PRIORITY = "\x06\x16"
_PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "")  # noqa: S104 - compared, not listened on


def is_own(queue: str | None) -> bool:
    """Whether the bridge itself reads a queue."""
    return queue is not None and queue.partition(_PRIORITY)[0] in (*OWN, _TICKS)


def worker_queue(broker_url: str) -> str:
    """The queue of the worker on this broker."""
    return _TICKS if broker_url.startswith("amqp") else WORKER


def same_server(url: str, other: str) -> bool:
    """Whether two addresses of Redis databases or AMQP virtual hosts certainly name the same one, whatever the user."""
    if is_group(url) and is_group(other):
        return _same_group(server_group(url), server_group(other))
    if is_group(url) or is_group(other):
        return False
    # One common node is enough: all nodes of RabbitMQ have the same virtual hosts.
    return bool(({*map(_place, amqp_nodes(url))} & {*map(_place, amqp_nodes(other))}) - {None})


def _same_group(first: ServerGroup, second: ServerGroup) -> bool:
    """Whether they have a server in common, which is enough: an address need not name all of them."""
    same = (first.kind, first.master, first.db) == (second.kind, second.master, second.db)
    return same and bool(set(first.hosts) & set(second.hosts))


def _place(address: str) -> tuple[str, ...] | None:
    parts = urlsplit(address)
    query = parse_qs(parts.query)
    if parts.scheme in ("unix", "redis+socket"):
        database = (query.get("db") or query.get("virtual_host") or ["0"])[0].strip("/")
        return ("redis", unquote(parts.netloc + parts.path), database or "0")
    if parts.scheme not in _PORTS:
        return None
    host = parts.hostname or ""
    port = str(_port(parts) or _PORTS[parts.scheme])
    if parts.scheme.startswith("amqp"):
        return ("amqp", "" if host in _THIS_MACHINE else host, port, unquote(parts.path)[1:] or "/")
    database = (query.get("db") or query.get("virtual_host") or [parts.path.strip("/")])[0] or "0"
    return ("redis", "" if host in _THIS_MACHINE else host, port, database)


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        return None
