"""A `requests` session that keeps one deadline per call, follows nothing and ignores the environment."""

from __future__ import annotations

import ssl
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.util.ssl_ import create_urllib3_context

from bridge.net.timed_connections import Deadline, PlainConnection, TLSConnection, timed_context

__all__ = ["timed_session"]

#: A call that is given no time-out gets this one, seconds.
_DEFAULT_SECONDS = 20.0


def timed_session(*, allow_private: bool | None = None, verify: bool = True) -> requests.Session:
    """A session for one thread. `timeout` of a call is a number of seconds for all of it, the body included.

    The environment's proxies and netrc are ignored, and redirects are returned like other answers. `allow_private`:
    None connects to any address; otherwise the address policy decides, and a call may raise `DeliveryFailed`. `verify`:
    whether to verify TLS certificates; give it to each call too.
    """
    session = _Session()
    session.trust_env = False
    adapter = _Adapter(allow_private, verify=verify)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        # Even where redirects are not followed, `requests` reads the whole body of a redirect and parses its target.
        return None


class _Adapter(HTTPAdapter):
    """One deadline for all connections, because the session makes one call at a time."""

    def __init__(self, allow_private: bool | None, *, verify: bool) -> None:
        self._allow_private, self._verify = allow_private, verify
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        self._deadline = deadline = Deadline()
        allow_private = self._allow_private
        context = timed_context(None if self._verify else create_urllib3_context(cert_reqs=ssl.CERT_NONE))

        class Plain(HTTPConnectionPool):
            ConnectionCls = PlainConnection

            def _new_conn(self) -> Any:
                return _with(deadline, allow_private, super()._new_conn())

        class TLS(HTTPSConnectionPool):
            ConnectionCls = TLSConnection

            def _new_conn(self) -> Any:
                return _with(deadline, allow_private, super()._new_conn())

        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, ssl_context=context, **kwargs
        )
        self.poolmanager.pool_classes_by_scheme = {"http": Plain, "https": TLS}

    def send(self, request: requests.PreparedRequest, *args: Any, timeout: Any = None, **kwargs: Any) -> Any:
        seconds = timeout or _DEFAULT_SECONDS
        self._deadline.start(seconds)
        # The sockets keep the deadline; this bounds what comes before and after them.
        return super().send(request, *args, **{**kwargs, "timeout": seconds})


def _with(deadline: Deadline, allow_private: bool | None, connection: Any) -> Any:
    connection.deadline, connection.allow_private = deadline, allow_private
    return connection
