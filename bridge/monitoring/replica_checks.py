"""With `ack: replica`: whether enough replicas can confirm, and whether what they confirm is on their disks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.connection import SSLConnection
from redis.retry import Retry

from bridge.config.durability import Durability
from bridge.errors import clip
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding

__all__ = ["Replica", "read_replicas", "replicas"]

#: A replica reports once a second how far it is.
_SILENT_SECONDS = 3
_TIMEOUT_SECONDS = 1.0
#: Options of the primary's connection that are used for a replica too.
_SHARED_OPTIONS = ("username", "password", "credential_provider", "protocol")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A replica as its primary lists it. `settings`: None if it could not be asked, because of `problem`."""

    address: str
    #: Whether it follows, and has reported so lately.
    follows: bool
    settings: Mapping[str, str] | None = None
    problem: str = ""


def replicas(durability: Durability, known: Sequence[Replica]) -> Iterator[Finding]:
    """The checks of all replicas together and of each."""
    following, wanted = sum(replica.follows for replica in known), durability.replicas
    if following < wanted:
        text = f"{following} connected, {wanted} must confirm: webhooks get 503, and nothing is delivered"
        yield Finding("replicas", FAILURE, text, "start replicas (REPLICAOF), or write ack: local and reload")
    elif following == wanted:
        text = (
            f"{following} connected, {wanted} must confirm: nothing is accepted while one of them restarts, nor after "
            "a failover until another one follows"
        )
        yield Finding("replicas", WARNING, text, "have one replica more than bridge.durability.replicas")
    else:
        yield Finding("replicas", OK, f"{following} connected, {wanted} must confirm")
    for replica in known:
        yield _replica(replica)


def _replica(replica: Replica) -> Finding:
    name = f"replica {replica.address}"
    if not replica.follows:
        return Finding(name, WARNING, "does not follow, or has not reported so for seconds", "look at its log")
    if replica.settings is None:
        remedy = "check yourself that it has appendonly yes and appendfsync always"
        return Finding(name, WARNING, f"cannot be asked: {replica.problem}", remedy)
    for setting, wanted in (("appendonly", "yes"), ("appendfsync", "always")):
        given = replica.settings.get(setting)
        if given != wanted:
            text = f"{setting} is {given}: what it confirms is not on its disk"
            remedy = f"CONFIG SET {setting} {wanted} there, and the same in its configuration file"
            return Finding(name, FAILURE, text, remedy)
    return Finding(name, OK, "follows, fsync always")


def read_replicas(primary: redis.Redis) -> list[Replica]:
    """The replicas that a primary lists, each with its settings. Raises redis-py's errors of the primary."""
    info = cast("Mapping[str, Any]", primary.info("replication"))
    named = [
        info[f"slave{number}"] for number in range(int(info.get("connected_slaves", 0))) if f"slave{number}" in info
    ]
    return [_ask(primary, each["ip"], int(each["port"]), _follows(each)) for each in named]


def _follows(named: Mapping[str, Any]) -> bool:
    return named.get("state") == "online" and int(named.get("lag", 0)) <= _SILENT_SECONDS


def _ask(primary: redis.Redis, host: str, port: int, follows: bool) -> Replica:
    address = f"{host}:{port}"
    if not follows:
        return Replica(address=address, follows=False)
    pool = primary.connection_pool
    given = pool.connection_kwargs
    options = {name: given[name] for name in given if name in _SHARED_OPTIONS or name.startswith("ssl_")}
    client = redis.Redis(
        host=host,
        port=port,
        ssl=issubclass(pool.connection_class, SSLConnection),
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    try:
        with client:
            settings = cast("dict[str, str]", client.config_get("append*"))
    except redis.RedisError as error:
        return Replica(address=address, follows=True, problem=f"{type(error).__name__}: {clip(error).rstrip('.')}")
    return Replica(address=address, follows=True, settings=settings)
