"""A client of the primary that sentinels name: `redis.Redis` over a pool that asks them whenever it connects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis
from redis.connection import Connection, SSLConnection
from redis.sentinel import MasterNotFoundError, SentinelConnectionPool, SentinelManagedConnection

from bridge.errors import clip
from bridge.net.sentinels import Sentinels
from bridge.net.server_group import ServerGroup

__all__ = ["sentinel_client"]


def sentinel_client(group: ServerGroup, options: Mapping[str, Any]) -> redis.Redis:
    """A client of the group's primary. `options`: those of redis-py's connections and pool."""
    pool = _PrimaryPool(  # type: ignore[no-untyped-call]  # redis-py has no types for it
        group.master,
        Sentinels(group),
        connection_class=_SSLPrimaryConnection if group.tls else _PrimaryConnection,
        db=group.db,
        username=group.user,
        password=group.password,
        **group.tls_options(),
        **options,
    )
    return redis.Redis.from_pool(pool)


class _PrimaryPool(SentinelConnectionPool):
    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        """A connection to the primary that sentinels named, at most a second ago.

        A primary that was stalled, or replaced by hand, keeps acknowledging writes for seconds, and drops them when it
        becomes a replica.
        """
        if self.sentinel_manager.is_due():
            try:
                # Ends the idle connections if the primary has changed.
                self.get_master_address()  # type: ignore[no-untyped-call]
            except MasterNotFoundError:
                self.sentinel_manager.postpone()
        return super().get_connection(*arguments, **options)


class _PrimaryConnection(SentinelManagedConnection):
    def connect(self) -> None:
        """Try once: callers repeat commands, and retries at both levels would take longer than 3 s."""
        self._connect_retry()  # type: ignore[no-untyped-call]

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read an answer. One from a server that may no longer be the primary ends the idle connections, and is an
        error of this one, so that the next call asks the sentinels again."""
        try:
            return Connection.read_response(self, *arguments, **options)
        except redis.ResponseError as error:
            if not _may_be_deposed(error):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            pool = self.connection_pool.connection_pool_ref()
            if pool is not None:
                pool.disconnect(inuse_connections=False)
            raise redis.ConnectionError(f"{self.host}:{self.port} refuses to write: {clip(error)}") from error


class _SSLPrimaryConnection(_PrimaryConnection, SSLConnection):
    pass


def _may_be_deposed(error: redis.ResponseError) -> bool:
    """Whether the server is a replica, or a primary that its replicas have left."""
    kinds = (redis.exceptions.ReadOnlyError, redis.exceptions.MasterDownError)
    return isinstance(error, kinds) or str(error).startswith("NOREPLICAS")
