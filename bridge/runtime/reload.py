"""Loads bridge.yaml again while the bridge runs: on SIGHUP, or on a request in the state server.

The edited file is checked first; one with problems is refused, and the process keeps what it has. Web then replaces its
server processes (`bridge/web/server.py`). Worker, beat and dispatch finish what they have begun, as at SIGTERM, and
start again in the same process, so that their supervisor sees nothing. They start with the text that was checked: what
is written into the file meanwhile cannot stop them.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import IO, NoReturn

import redis
import structlog

from bridge import clock
from bridge.config import access
from bridge.errors import BridgeError, ConfigError, clip
from bridge.line_writer import drain_writers
from bridge.services import Services, load
from bridge.settings import PREFIX, environment
from bridge.state.client import state_client
from bridge.state.running import LOADED, RESTARTING, UNCHANGED, RunningProcesses, process_id

__all__ = [
    "Hangups",
    "ReloadRequests",
    "Reloader",
    "TerminalLoss",
    "answer_request",
    "edited",
    "leave_running",
    "try_edited",
]

_log = structlog.get_logger(__name__)

#: How often a process reports what it runs with, and looks for a request.
_REPORT_SECONDS = 2.0
_TICK_SECONDS = 0.25
#: A process that has not stopped by then starts again anyway: one of its threads may hang.
_STOP_SECONDS = 30.0
#: Names of sockets, files, keys and queues are derived from these.
_FIXED = ("name", "state", "broker", "data_dir", "partitions")


def edited(services: Services) -> Services | None:
    """The services of the file as it is now; None if nothing has changed.

    Raises `ConfigError` if the file has problems or changes what cannot change while the bridge runs, `BridgeError` if
    the file of the API token is invalid.
    """
    new, old = load(replace(services.settings, config_descriptor=None)), services.config
    fixed = [f"bridge.{name}" for name in _FIXED if getattr(new.config.bridge, name) != getattr(old.bridge, name)]
    fixed += ["demo"] if new.config.demo != old.demo else []
    if fixed:
        remedy = "Remedy: restore it, or stop all processes and start them again"
        raise ConfigError(*(f"{old.path}: {name}: cannot change while the bridge runs. {remedy}" for name in fixed))
    access.tokens(new.config)
    return None if new.config == old else new


def try_edited(services: Services) -> tuple[str, Services | None]:
    """The outcome of a request and, only if the file has changed and may be used, its services. Logs a refusal."""
    try:
        new = edited(services)
    except BridgeError as error:
        outcome = _refusal(error)
        _log.error("configuration_refused", problem=outcome, remedy="correct the file; the old one stays in use")
        return outcome, None
    outcome = UNCHANGED if new is None else RESTARTING
    _log.info("configuration_checked", outcome=outcome)
    return outcome, new


def _refusal(error: BridgeError) -> str:
    """The first problem, and how many there are."""
    problems = error.problems if isinstance(error, ConfigError) else (str(error),)
    more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
    return f"{clip(problems[0], 300)}{more}"


def answer_request(services: Services, name: str, outcome: str) -> None:
    """Report what became of the last request."""
    with _registry(services) as processes:
        processes.answer(process_id(name), processes.last_request(), outcome)


def leave_running(services: Services, name: str) -> None:
    """Remove the process from the register, because it ends."""
    with _registry(services) as processes:
        processes.leave(process_id(name))


@contextmanager
def _registry(services: Services) -> Iterator[RunningProcesses]:
    """The register, over its own client because the caller may be about to fork. A fault is only logged."""
    client = state_client(services.state_url, timeout=1.0, retries=0)
    try:
        yield RunningProcesses(client)
    except redis.RedisError as error:
        _log.warning("reload_not_answered", error=type(error).__name__)
    finally:
        client.close()


class ReloadRequests:
    """For the server processes of web: reports what they run with, and passes a request on to their parent.

    Call it often, with a client of the state server. Raises the errors of redis-py.
    """

    def __init__(self, services: Services, name: str, parent: int) -> None:
        self._parent = parent
        self._id = process_id(name, parent)
        self._services = services
        self._loaded_at = services.now()
        self._seen_request = -1
        self._next = 0.0

    def __call__(self, client: redis.Redis) -> None:
        if clock.monotonic() < self._next:
            return
        self._next = clock.monotonic() + _REPORT_SECONDS
        processes, now = RunningProcesses(client), self._services.now()
        request = processes.report(self._id, self._services.config.digest, self._loaded_at, now)
        if self._seen_request < 0:
            processes.answer(self._id, request, LOADED)
        elif request > self._seen_request and self._parent == os.getppid():
            os.kill(self._parent, signal.SIGHUP)
        self._seen_request = request


class TerminalLoss:
    """Whether the process has lost its terminal, which the kernel announces by SIGHUP as well."""

    def __init__(self) -> None:
        self._had_terminal = _has_terminal()

    def happened(self) -> bool:
        return self._had_terminal and not _has_terminal()


class Hangups:
    """SIGHUP, from the first moment on. After the loss of the terminal it means stop, otherwise reload."""

    def __init__(self) -> None:
        #: Set by a signal; cleared by the reload.
        self.requested = False
        self._terminal = TerminalLoss()
        self.listen()
        # A process that starts again has blocked SIGHUP, so that none is lost.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def listen(self) -> None:
        """Handle SIGHUP, even if a library has installed a handler. In the main thread."""
        signal.signal(signal.SIGHUP, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Only flags: a signal handler must not take locks.
        if self._terminal.happened():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self.requested = True
            self.on_request(frame)

    def on_request(self, frame: FrameType | None) -> None:
        """Overridden by `Reloader`; called in the main thread."""


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


class Reloader(Hangups):
    """For worker, beat and dispatch: make it first of all, then run the process within `running`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._id = process_id(name)
        # Before libraries change it for processes of their own.
        self._environment = environment()
        self._text: IO[bytes] | None = None
        self._stopping = False
        self._stopped_from_outside = False
        self._deadline = float("inf")

    @contextmanager
    def running(self, services: Services) -> Iterator[None]:
        """Reload while the block runs. If the block ended for a reload, this starts the process again."""
        self._services = services
        self._processes = RunningProcesses(state_client(services.state_url, timeout=_REPORT_SECONDS, retries=0))
        self._loaded_at, self._seen_request = services.now(), -1
        thread = threading.Thread(target=self._watch, daemon=True, name="reload")
        thread.start()
        try:
            yield
        except SystemExit:
            # How beat and a worker end at SIGTERM.
            self._restart_or_leave()
            raise
        self._restart_or_leave()

    def on_request(self, frame: FrameType | None) -> None:
        """In the main thread: if the thread has accepted a file, stop the process as SIGTERM does."""
        stop = signal.getsignal(signal.SIGTERM)
        if self._text is None or self._stopping or not callable(stop):
            return  # the thread will see `requested`
        self._stopping = True
        for number in (signal.SIGTERM, signal.SIGINT):
            self._note(number)
        stop(signal.SIGTERM, frame)

    def _note(self, number: signal.Signals) -> None:
        """Note a signal to stop, which from now on is a real one."""
        handler = signal.getsignal(number)

        def noted(given: int, frame: FrameType | None) -> None:
            self._stopped_from_outside = True
            if callable(handler):
                handler(given, frame)

        signal.signal(number, noted)

    def _watch(self) -> None:
        report_at = 0.0
        while True:
            if clock.monotonic() >= report_at:
                report_at = clock.monotonic() + _REPORT_SECONDS
                self._report()
            if self._text is not None:
                if clock.monotonic() > self._deadline:
                    _log.warning("reload_forced", seconds=_STOP_SECONDS)
                    self._start_again()
                if not self._stopping:
                    os.kill(os.getpid(), signal.SIGHUP)  # the process may not have had its handlers yet
            elif self.requested:
                self.requested = False
                self._reload()
            time.sleep(_TICK_SECONDS)

    def _report(self) -> None:
        config, first = self._services.config, self._seen_request < 0
        try:
            request = self._processes.report(self._id, config.digest, self._loaded_at, self._services.now())
            if first:
                self._processes.answer(self._id, request, LOADED)
            elif request > self._seen_request:
                self.requested = True
            self._seen_request = request
        except redis.RedisError:
            return  # the process itself reports that the state server is away

    def _reload(self) -> None:
        outcome, new = try_edited(self._services)
        if new is not None:
            try:
                text = tempfile.TemporaryFile()  # noqa: SIM115 - the restarted process reads it
                text.write(new.config.text.encode())
                text.seek(0)
            except OSError as error:
                outcome = f"cannot be kept for the new start: {clip(error.strerror or error)}"
                _log.error("configuration_refused", problem=outcome, remedy="make room for temporary files")
            else:
                self._deadline, self._text = clock.monotonic() + _STOP_SECONDS, text
        with _registry(self._services) as processes:
            processes.answer(self._id, max(self._seen_request, 0), outcome)

    def _restart_or_leave(self) -> None:
        if self._text is not None and self._stopping and not self._stopped_from_outside:
            self._start_again()
        with _registry(self._services) as processes:
            processes.leave(self._id)

    def _start_again(self) -> NoReturn:
        """Start the same command in the same process, with the text that was checked."""
        if self._text is None:
            raise AssertionError("a file was accepted before")
        os.set_inheritable(self._text.fileno(), True)
        drain_writers()
        # The mask survives: a signal while the interpreter starts waits for `Hangups`.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        variables = {**self._environment, f"{PREFIX}CONFIG_DESCRIPTOR": str(self._text.fileno())}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)  # noqa: S606 - our own command
