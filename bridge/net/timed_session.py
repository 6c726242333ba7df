"""A `requests` session that keeps one deadline per call, follows nothing and ignores the environment."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager

from bridge.net.timed_connections import Deadline, PlainConnection, TLSConnection, timed_context

__all__ = ["timed_session"]

#: A call that is given no time-out gets this one, seconds.
_DEFAULT_SECONDS = 20.0


def timed_session() -> requests.Session:
    """A session for one thread. `timeout` of a call is a number of seconds for all of it, the body included.

    Proxies and netrc of the environment play no part, and redirects are answers like others.
    """
    session = _Session()
    session.trust_env = False
    adapter = _Adapter()
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        # Even where redirects are not followed, `requests` reads the whole body of one and parses its target.
        return None


class _Adapter(HTTPAdapter):
    """One deadline for all connections, because the session makes one call at a time."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        self._deadline = deadline = Deadline()

        class Plain(HTTPConnectionPool):
            ConnectionCls = PlainConnection

            def _new_conn(self) -> Any:
                return _with(deadline, super()._new_conn())

        class TLS(HTTPSConnectionPool):
            ConnectionCls = TLSConnection

            def _new_conn(self) -> Any:
                return _with(deadline, super()._new_conn())

        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, ssl_context=timed_context(), **kwargs
        )
        self.poolmanager.pool_classes_by_scheme = {"http": Plain, "https": TLS}

    def send(self, request: requests.PreparedRequest, *args: Any, timeout: Any = None, **kwargs: Any) -> Any:
        seconds = timeout or _DEFAULT_SECONDS
        self._deadline.start(seconds)
        # The sockets keep the deadline; this bounds what comes before and after them.
        return super().send(request, *args, **{**kwargs, "timeout": seconds})


def _with(deadline: Deadline, connection: Any) -> Any:
    connection.deadline = deadline
    return connection
