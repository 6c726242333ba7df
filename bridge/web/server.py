"""The web server process: gunicorn with gevent workers. What the application does is in `bridge/web/__init__.py`."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import shutil
import socket
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask import Flask
from gevent.hub import Hub
from gevent.monkey import MonkeyPatchWarning
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http import errors as http_errors
from gunicorn.util import write_nonblock
from gunicorn.workers.ggevent import GeventWorker

from bridge.config import access
from bridge.errors import BridgeError, clip
from bridge.monitoring import logs
from bridge.monitoring.metrics import MULTIPROCESS_VARIABLE, drop_process_gauges
from bridge.services import Services
from bridge.web.hooks import BODY_SECONDS

__all__ = ["run"]

#: Seconds for the rest of a request's headers and between two requests of a connection.
_KEEPALIVE_SECONDS = 5
#: Longer than the longest answer that began before the process was asked to stop.
_GRACEFUL_SECONDS = 10
_BACKLOG = 2048

_BAD_REQUEST = b"400 Bad Request"
#: What gunicorn refuses by itself. Everything else that is wrong with a request line or its headers is a 400.
_REFUSALS: dict[type[Exception], bytes] = {
    http_errors.LimitRequestLine: b"414 URI Too Long",
    http_errors.LimitRequestHeaders: b"431 Request Header Fields Too Large",
    http_errors.ExpectationFailed: b"417 Expectation Failed",
}


def run(
    services: Services, host: str, port: int, workers: int | None = None, *, body_seconds: float = BODY_SECONDS
) -> None:
    """Serve until SIGTERM or SIGINT, then raise `SystemExit`. `workers`: processes, one per core if None.

    `body_seconds`: until then a webhook's body must be complete. Raises `BridgeError` when it cannot listen there, or
    for a token file that is none.
    """
    access.tokens(services.config)  # one clear line instead of processes that fail
    listener = _listen(host, port)
    where, workers = listener.getsockname()[1], workers or multiprocessing.cpu_count()
    logs.get_logger("bridge.web.server").info("web_listening", host=host, port=where, processes=workers)
    application = _Application(services, listener, workers, _metrics_directory(services, where))
    application.body_seconds = body_seconds
    application.run()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            # Connections that the last run left in TIME_WAIT do not count.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener
    except OSError as error:
        raise BridgeError(
            f"cannot listen on {host}:{port}: {clip(error.strerror or error)}. Remedy: give another one with --port",
            reason="port_in_use",
        ) from error


def _metrics_directory(services: Services, port: int) -> Path:
    """An empty directory: numbers of an earlier run would be counted again."""
    directory = services.config.bridge.data_dir.absolute() / "metrics" / f"web-{port}"
    try:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    except OSError as error:
        raise BridgeError(
            f"cannot write to {directory}: {clip(error.strerror or error)}. Remedy: set bridge.data_dir to a directory "
            "that this user owns",
            reason="data_dir",
        ) from error
    return directory


class _Log(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own lines through ours, warnings and errors only."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.propagate = True
        self.error_log.setLevel(logging.WARNING)


class _Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """Answers requests that gunicorn cannot read without repeating anything of them, in the answer or in the log."""

    def patch(self) -> None:
        # redis.asyncio and urllib3 hold the unpatched SSL context. This process speaks TLS through `redis` alone.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MonkeyPatchWarning)
            super().patch()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        status = _REFUSALS.get(type(exc), _BAD_REQUEST)
        if not isinstance(exc, http_errors.ParseException):
            # The application answers for itself: what comes here is a fault of ours or of the server.
            logs.get_logger("bridge.web.server").error("connection_failed", exc_info=exc)
            status = b"503 Service Unavailable\r\nRetry-After: 10"
        head = b"\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        try:
            write_nonblock(client, b"HTTP/1.1 " + status + head)
        except OSError:
            self.log.debug("the sender is gone")


class _Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    body_seconds: float

    def __init__(self, services: Services, listener: socket.socket, workers: int, metrics_directory: Path) -> None:
        self.services = services
        self.metrics_directory = metrics_directory
        self.settings = {
            "bind": f"fd://{listener.detach()}",
            "workers": workers,
            "worker_class": f"{__name__}._Worker",
            "worker_connections": 2000,
            "backlog": _BACKLOG,
            "keepalive": _KEEPALIVE_SECONDS,
            "timeout": 30,
            "graceful_timeout": _GRACEFUL_SECONDS,
            # No forwarder is trusted, this machine's least of all: a proxy there passes on what its clients send.
            # SCRIPT_NAME from outside would lead from /webhooks/ into the API.
            "forwarded_allow_ips": "",
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "header_map": "drop",
            "proxy_protocol": False,
            "proxy_allow_ips": "",
            "limit_request_line": 4094,
            "limit_request_fields": 100,
            "limit_request_field_size": 8190,
            "logger_class": _Log,
            "control_socket_disable": True,
            "proc_name": "attempt-bridge web",
            "raw_env": [f"{MULTIPROCESS_VARIABLE}={metrics_directory}"],
            "post_worker_init": _settle,
            "worker_exit": _leave,
            "child_exit": lambda server, worker: drop_process_gauges(worker.pid, metrics_directory),
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called in each worker, after forking and patching: so everything with a socket or a lock is made here."""
        from bridge.web import create_app  # noqa: PLC0415

        # A copy has no clients yet, whatever the parent did with its own.
        services = replace(self.services)
        return create_app(services, body_seconds=self.body_seconds, metrics_directory=self.metrics_directory)


def _leave(server: Any, worker: Any) -> None:
    # Handlers that live until the interpreter ends are taken off this list then, under a lock that needs parts of
    # gevent that are gone by that time: one alarming traceback per process.
    logging._handlerList.clear()  # type: ignore[attr-defined]


def _settle(worker: Any) -> None:
    # gevent prints what ends a greenlet on stderr, with its text.
    Hub.print_exception = lambda hub, context, kind, error, trace: logs.log_unhandled(error, "greenlet")
    # gunicorn finds each setting through two calls, some twenty times a request; they do not change any more.
    vars(worker.cfg).update({name: setting.get() for name, setting in worker.cfg.settings.items()})
    # What was imported stays for good: no collection needs to look at it again.
    gc.collect()
    gc.freeze()
