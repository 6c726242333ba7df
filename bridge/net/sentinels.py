"""Sentinels: how they are reached, and which server they name as the primary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel
from redis.utils import str_if_bytes

from bridge import clock
from bridge.errors import clip
from bridge.net.server_group import ServerGroup

__all__ = ["SENTINEL_SECONDS", "Sentinels", "primary_problem", "sentinel_options"]

#: Time-out of one sentinel, to connect and to answer: with three that are away, a webhook still gets its 503 in 3 s.
SENTINEL_SECONDS = 0.3
#: How often a process asks again while its primary answers; and after no sentinel has answered, seconds.
_LOOK_SECONDS, _NO_ANSWER_SECONDS = 1.0, 10.0


def sentinel_options(group: ServerGroup) -> dict[str, Any]:
    """The arguments of redis-py's clients of each sentinel."""
    return {
        "socket_connect_timeout": SENTINEL_SECONDS,
        "socket_timeout": SENTINEL_SECONDS,
        "username": group.sentinel_user,
        "password": group.sentinel_password,
        # By default redis-py asks each sentinel that is away four times, with pauses of seconds.
        "retry": Retry(NoBackoff(), 0),
        "client_name": "attempt-bridge",
        "ssl": group.tls,
        **group.tls_options(),
    }


class Sentinels(Sentinel):
    """The sentinels of a group; `sentinels` begins with the one that answered last."""

    def __init__(self, group: ServerGroup) -> None:
        super().__init__(group.hosts, sentinel_kwargs=sentinel_options(group))  # type: ignore[no-untyped-call]
        self._next_look = 0.0

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """(host, port) of the primary, from the first sentinel that has it and sees it up.

        redis-py's own version stops at a sentinel that refuses the command, and forgets sentinels when two threads
        reorder them. Raises `MasterNotFoundError`, which is a `redis.ConnectionError`.
        """
        away: list[redis.RedisError] = []
        told: list[str] = []
        for sentinel in self.sentinels:
            try:
                known = cast("dict[str, dict[str, Any]]", sentinel.sentinel_masters())
                state = known.get(service_name)
                address = None if state is None else _running_primary(sentinel, service_name, state)
            except (redis.AuthenticationError, redis.ResponseError) as error:
                told.append(f"a sentinel refuses to answer: {clip(error)}")
                continue
            except redis.RedisError as error:
                away.append(error)
                continue
            if address is not None:
                self.sentinels = [sentinel, *(other for other in self.sentinels if other is not sentinel)]
                return address
            told.append(f'a sentinel {"has no" if state is None else "sees no running"} primary "{service_name}"')
        # A sentinel's answer explains more than another one's absence.
        reason = told[0] if told else f"no sentinel answers: {clip(away[0])}"
        raise MasterNotFoundError(reason) from next(iter(away), None)

    def is_due(self) -> bool:
        """Whether to ask again although the primary answers: when a second has passed since the last time."""
        now = clock.monotonic()
        if now < self._next_look:
            return False
        # Set before asking, so that other threads do not ask too.
        self._next_look = now + _LOOK_SECONDS
        return True

    def postpone(self) -> None:
        """Ask less often while no sentinel names a primary: each query may take a second, and the primary answers."""
        self._next_look = clock.monotonic() + _NO_ANSWER_SECONDS


def _running_primary(sentinel: redis.Redis, name: str, state: Mapping[str, Any]) -> tuple[str, int] | None:
    """(host, port) of the primary if this sentinel sees one that is up. `state`: its entry in SENTINEL MASTERS.

    The sentinel that leads a failover lists the old primary until all replicas follow the new one, a second or more; by
    name it returns the new one. The old one may be up meanwhile: it woke, or is replaced by hand.
    Raises the errors of redis-py.
    """
    listed = (state["ip"], state["port"])
    if "failover_in_progress" in state["flags"]:
        named = cast("tuple[bytes | str, int] | None", sentinel.sentinel_get_master_addr_by_name(name))
        if named is not None and (promoted := (str_if_bytes(named[0]), named[1])) != listed:
            return promoted
    return None if state["is_sdown"] or state["is_odown"] else listed


def primary_problem(error: BaseException | None) -> str | None:
    """One line with the remedy if no sentinel naming a primary is `error` or a cause of it, or None.

    redis-py's own text shows every option of its clients.
    """
    while error is not None:
        if isinstance(error, MasterNotFoundError):
            return "no sentinel names a running primary. Remedy: attempt-bridge doctor shows what each of them says"
        error = error.__cause__ or error.__context__
    return None
