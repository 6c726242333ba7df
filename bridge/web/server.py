"""The web server process: gunicorn with gevent workers. What the application does is in `bridge/web/__init__.py`."""

from __future__ import annotations

import errno
import gc
import logging
import multiprocessing
import os
import shutil
import socket
import warnings
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Flask
from gevent import events
from gevent.hub import Hub
from gevent.monkey import MonkeyPatchWarning
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.http import errors as http_errors
from gunicorn.util import write_nonblock
from gunicorn.workers.ggevent import GeventWorker

from bridge.config import access
from bridge.config.open_access import is_loopback
from bridge.errors import BridgeError, clip
from bridge.monitoring import logs
from bridge.monitoring.log_limits import LogLimits
from bridge.monitoring.metrics import MULTIPROCESS_VARIABLE, drop_process_gauges
from bridge.runtime.parent_pipe import end_with_parent
from bridge.runtime.reload import ReloadRequests, TerminalLoss, answer_request, leave_running, try_edited
from bridge.services import Services
from bridge.settings import ignore_library_settings
from bridge.state.data_directory import make_private
from bridge.telemetry.process import RunningTelemetry
from bridge.web import create_app
from bridge.web.api.problems import MEDIA_TYPE, problem_body
from bridge.web.hooks import BODY_SECONDS
from bridge.web.telemetry import begin_in_web

__all__ = ["run"]

#: Time limit for the rest of a request's headers, and between two requests of a connection, seconds.
_KEEPALIVE_SECONDS = 5
#: Seconds for open requests after a stop signal: longer than the longest answer takes.
_GRACEFUL_SECONDS = 10
_BACKLOG = 2048

_LONGEST_LINE, _HEADERS, _LONGEST_HEADER = 8190, 100, 8190
_BAD_REQUEST = (400, "the request line or a header is not well-formed")
#: gunicorn's error -> status and detail. Any other malformed request line or header is a 400.
_REFUSALS: dict[type[Exception], tuple[int, str]] = {
    http_errors.LimitRequestLine: (414, f"address too long. Remedy: shorten it to {_LONGEST_LINE} bytes"),
    http_errors.LimitRequestHeaders: (431, f"headers too large. Remedy: send {_HEADERS} of {_LONGEST_HEADER} bytes"),
    http_errors.ExpectationFailed: (417, "unknown expectation. Remedy: leave out the header Expect"),
}
_UNEXPECTED = (503, "unexpected error. Remedy: see the log of web")


def run(
    services: Services, host: str, port: int, workers: int | None = None, *, body_seconds: float = BODY_SECONDS
) -> None:
    """Serve until SIGTERM or SIGINT, then raise `SystemExit`. `workers`: processes, one per core if None.

    `body_seconds`: time limit for a webhook's body. Raises `BridgeError` if it cannot listen there, or if the token
    file is invalid.
    """
    ignore_library_settings()
    access.tokens(services.config)  # an invalid file is one clear line here, instead of failing processes
    listener = _listen(host, port)
    if services.settings.open_access and not is_loopback(listener.getsockname()[0]):
        listener.close()
        raise BridgeError(
            f"cannot listen on {host}: access is open without signing in, only on this machine. Remedy: use --host "
            "127.0.0.1",
            reason="open_access",
        )
    where, workers = listener.getsockname()[1], workers or multiprocessing.cpu_count()
    logs.get_logger(__name__).info("web_listening", host=host, port=where, processes=workers)
    application = _Application(services, listener, workers, _metrics_directory(services, where))
    application.body_seconds = body_seconds
    _Arbiter(application).run()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            # Otherwise connections of the last run in TIME_WAIT would block the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener
    except OSError as error:
        raise BridgeError(
            f"cannot listen on {host}:{port}: {clip(error.strerror or error)}. Remedy: choose another port with --port",
            reason="port_in_use",
        ) from error


def _metrics_directory(services: Services, port: int) -> Path | None:
    """An empty directory: metrics of an earlier run would be counted again. None if the disk is full: web must run."""
    directory = services.config.bridge.data_dir.absolute() / "metrics" / f"web-{port}"
    try:
        make_private(directory.parent)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            logs.get_logger(__name__).warning("metrics_not_shared", problem=error.strerror)
            return None
        raise BridgeError(
            f"cannot write to {directory}: {clip(error.strerror or error)}. Remedy: set bridge.data_dir to a directory "
            "that this user owns",
            reason="data_dir",
        ) from error
    return directory


class _GunicornLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Sends gunicorn's warnings and errors through our log."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.propagate = True
        self.error_log.setLevel(logging.WARNING)


class _Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """Answers malformed requests without repeating anything of them, in the answer or in the log."""

    limits = LogLimits(logs.get_logger(__name__))

    def patch(self) -> None:
        # At each of its steps gevent would read the metadata of all installed packages, looking for plugins.
        events.notify_and_call_entry_points = events.notify
        # redis.asyncio and urllib3 hold the unpatched SSL context. This process speaks TLS only through `redis`.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MonkeyPatchWarning)
            super().patch()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        status, detail = _REFUSALS.get(type(exc), _BAD_REQUEST)
        if not isinstance(exc, http_errors.ParseException):
            # The application handles its own errors: this is a fault of ours outside it, or of gunicorn.
            if self.limits.allows("connection_failed", error_type=type(exc).__name__):
                logs.get_logger(__name__).error("connection_failed", exc_info=exc)
            status, detail = _UNEXPECTED
        body = problem_body(status, detail)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\nContent-Type: {MEDIA_TYPE}\r\n"
            + ("Retry-After: 10\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else "")
            + f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            write_nonblock(client, head.encode() + body)
        except OSError:
            self.log.debug("sender disconnected")


class _Arbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """Replaces its processes at a reload only if the file has changed and has no problems.

    The new ones take over the listening socket: what comes meanwhile waits in its queue, and the old ones finish what
    they have begun.
    """

    def __init__(self, app: _Application) -> None:
        self._terminal = TerminalLoss()
        super().__init__(app)

    def handle_hup(self) -> None:
        if self._terminal.happened():
            self.handle_term()
        else:
            self.reload()

    def reload(self) -> None:
        outcome, new = try_edited(self.app.services)
        answer_request(self.app.services, "web", outcome)
        if new is not None:
            self.app.services = new
            super().reload()


class _Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    body_seconds: float
    #: What its process exports.
    telemetry: RunningTelemetry | None = None
    #: Whether the process of this application takes new requests.
    is_current: Callable[[], bool] = staticmethod(lambda: True)

    def __init__(
        self, services: Services, listener: socket.socket, workers: int, metrics_directory: Path | None
    ) -> None:
        self.services = services
        self.metrics_directory = metrics_directory
        self.settings: dict[str, Any] = {
            "bind": f"fd://{listener.detach()}",
            "workers": workers,
            "worker_class": f"{__name__}._Worker",
            "worker_connections": 2000,
            "backlog": _BACKLOG,
            "keepalive": _KEEPALIVE_SECONDS,
            "timeout": 30,
            "graceful_timeout": _GRACEFUL_SECONDS,
            # No proxy is trusted, not even on this machine: it passes on what its clients send. With a SCRIPT_NAME from
            # outside, an address below /webhooks/ could reach the API.
            "forwarded_allow_ips": "",
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "header_map": "drop",
            "proxy_protocol": False,
            "proxy_allow_ips": "",
            "limit_request_line": _LONGEST_LINE,
            "limit_request_fields": _HEADERS,
            "limit_request_field_size": _LONGEST_HEADER,
            "logger_class": _GunicornLog,
            "control_socket_disable": True,
            "proc_name": "attempt-bridge web",
            "raw_env": [f"{MULTIPROCESS_VARIABLE}={metrics_directory}"] if metrics_directory else [],
            "post_worker_init": _after_init,
            "worker_exit": _on_exit,
            "on_exit": lambda server: leave_running(self.services, "web"),
        }
        if metrics_directory is not None:
            self.settings["child_exit"] = lambda server, worker: drop_process_gauges(worker.pid, metrics_directory)
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The application of one worker, made after forking and patching: it has sockets and locks."""
        # A copy has no clients yet, whatever the parent did with its own.
        services = replace(self.services)
        self.telemetry = begin_in_web(services)
        requests = ReloadRequests(services, "web", os.getppid())
        return create_app(
            services,
            body_seconds=self.body_seconds,
            metrics_directory=self.metrics_directory,
            # One that is replaced finishes its requests, but no longer speaks for the server.
            on_probe=lambda client: requests(client) if self.is_current() else None,
            is_current=lambda: self.is_current(),
        )


def _on_exit(server: Any, worker: Any) -> None:
    if worker.app.telemetry is not None:
        worker.app.telemetry.end()
    # At exit the interpreter removes its handlers under a lock that needs parts of gevent which are gone by then: one
    # alarming traceback per process.
    logging._handlerList.clear()  # type: ignore[attr-defined]


def _after_init(worker: Any) -> None:
    worker.app.is_current = lambda: worker.alive
    if worker.app.services.settings.end_with_stdin:
        end_with_parent()
    # gevent would print an error that ends a greenlet on stderr, with its text.
    Hub.print_exception = lambda hub, context, kind, error, trace: logs.log_unhandled(error, "greenlet")
    # gunicorn looks up each setting through two calls, about twenty times a request; settings no longer change.
    vars(worker.cfg).update({name: setting.get() for name, setting in worker.cfg.settings.items()})
    # Imported modules stay until the process ends: the collector need not scan them again.
    gc.collect()
    gc.freeze()
