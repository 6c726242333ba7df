"""What `up` does: embedded server, the four parts, `ready`, and stopping in order. The demo builds on it."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType

import click

from bridge import clock
from bridge.config import access
from bridge.errors import BridgeError
from bridge.line_writer import line_writer
from bridge.runtime import processes
from bridge.runtime.dashboard_link import dashboard_line
from bridge.runtime.processes import PARTS, Address
from bridge.runtime.reload import Hangups, edited
from bridge.runtime.server_restarts import ServerRestarts
from bridge.runtime.supervisor import Supervisor
from bridge.services import Services, load
from bridge.settings import PREFIX, environment, wants_no_colours
from bridge.state.client import state_client
from bridge.state.data_directory import hold_directory
from bridge.state.embedded_server import EmbeddedServer
from bridge.state.server_socket import prepare_socket

__all__ = [
    "PORT_WAIT_SECONDS",
    "Readiness",
    "Signals",
    "child_environment",
    "embedded_server",
    "exit_code",
    "free_port",
    "printer",
    "run",
    "supervise",
]

_TICK_SECONDS = 0.1
#: How long the children of a killed `up` may keep the port: they have 3 s to end.
PORT_WAIT_SECONDS = 6.0
#: How often parts that do not answer are named.
_REMINDER_SECONDS = 15.0
_LOG_FORMAT = f"{PREFIX}LOG_FORMAT"
_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "bright_cyan", "bright_magenta", "bright_yellow")


class Signals:
    """Remembers the first signal to stop. A flag, not an event: a signal handler must not take locks.

    `hangups`: handles SIGHUP; without it, SIGHUP stops too.
    """

    def __init__(self, hangups: Callable[[], Hangups] | None = None) -> None:
        self.received: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._remember)
        self._hangups = hangups and hangups()

    def take_reload(self) -> bool:
        """Whether a reload was asked for since the last call."""
        if self._hangups is None or not self._hangups.requested:
            return False
        self._hangups.requested = False
        return True

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number


def exit_code(received: int | None) -> int:
    """130 for Ctrl-C, else 0: a service manager's SIGTERM is a normal stop."""
    return 130 if received == signal.SIGINT else 0


def run(services: Services, host: str, port: int, *, accept_empty: bool = False) -> int:
    """Run the bridge until a signal comes. Returns the exit code of the process.

    `accept_empty`: start with an empty embedded server, even where it held data before.

    Raises `ConfigError` and `BridgeError` (data directory or port in use, a part that refuses to start). Once the
    bridge has been ready, a part that keeps exiting is restarted at growing intervals while the others continue.
    """
    signals, since, show = Signals(Hangups), clock.now(), printer((*PARTS, "up"))
    with ExitStack() as stack:
        was_killed = stack.enter_context(hold_directory(services.config.bridge.data_dir))
        # First: if the port is in use, nothing must be started or stopped.
        port = free_port(host, port, patience=PORT_WAIT_SECONDS if was_killed else 0.0)
        if not _state_is_given(services) and prepare_socket(services.config.bridge.data_dir):
            services = load(services.settings)  # the addresses of the embedded server have changed
        server = stack.enter_context(embedded_server(services, show, accept_empty=accept_empty))
        address = Address(
            config=services.settings.config,
            state_url=services.state_url,
            broker_url=services.broker_url,
            host=host,
            port=port,
        )
        # Before web starts, which reads it.
        if (notice := access.first_token(services.config)) is not None:
            show("up", notice)
        supervisor = stack.enter_context(Supervisor(processes.programs(address, child_environment()), on_line=show))

        def on_ready() -> None:
            _settle(supervisor, server)
            show("up", dashboard_line(services, address.web_url))

        readiness = Readiness(address, since=since, show=show, on_ready=on_ready)
        if not services.config.sources:
            show(
                "up", f"{services.config.path} has no sources yet, so nothing will be received. See bridge.example.yaml"
            )

        def check() -> None:
            readiness.check()
            if signals.take_reload():
                _reload(services, supervisor, show)

        supervise(supervisor, None if server is None else ServerRestarts(server, show), signals, check)
        show("up", "stopping")
    return exit_code(signals.received)


def supervise(
    supervisor: Supervisor, server: ServerRestarts | None, signals: Signals, check: Callable[[], object]
) -> None:
    """Keep everything running and call `check` each round, until a signal comes or `check` returns "done"."""
    while signals.received is None:
        if server is not None:
            server.check()
        supervisor.check()
        if check() == "done":
            return
        time.sleep(_TICK_SECONDS)


class Readiness:
    """Prints `ready http://...` on stdout once all parts answer; until then names those that do not."""

    def __init__(
        self,
        address: Address,
        *,
        since: float,
        show: Callable[[str, str], None],
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self.ready = False
        self._on_ready = on_ready
        self._address = address
        self._since = since
        self._show = show
        self._next_reminder = clock.monotonic() + _REMINDER_SECONDS
        self._stdout = line_writer(sys.stdout)

    def check(self) -> None:
        """Ask the parts, unless all have answered already."""
        if self.ready:
            return
        with state_client(self._address.state_url, retries=0) as state:
            missing = processes.silent_parts(self._address, state, since=self._since)
        if not missing:
            self.ready = True
            self._on_ready()
            self._stdout.write(f"ready {self._address.web_url}\n")
        elif clock.monotonic() > self._next_reminder:
            self._next_reminder += _REMINDER_SECONDS
            self._show("up", f"still waiting for {', '.join(missing)}")


def _state_is_given(services: Services) -> bool:
    return bool(services.settings.state or services.config.bridge.state)


def _reload(services: Services, supervisor: Supervisor, show: Callable[[str, str], None]) -> None:
    """Check the file once for all parts, and let them reload it. They compare it with what they have."""
    try:
        edited(services)
    except BridgeError as error:
        for problem in str(error).splitlines():
            show("up", problem)
        show("up", "configuration refused: the old one stays in use")
    else:
        show("up", "the parts load the configuration again")
        supervisor.signal(signal.SIGHUP)


def _settle(supervisor: Supervisor, server: EmbeddedServer | None) -> None:
    supervisor.settle()
    if server is not None:
        server.record_use()


@contextmanager
def embedded_server(
    services: Services, show: Callable[[str, str], None], *, accept_empty: bool = False
) -> Iterator[EmbeddedServer | None]:
    """The embedded server during the block; None where `state` is given. One that was adopted is left running."""
    if _state_is_given(services):
        yield None
        return
    server = EmbeddedServer(services.config.bridge.data_dir, accept_empty=accept_empty)
    if server.start():
        show("up", f"adopted the embedded server of an earlier run: process {server.pid()}; it will keep running")
    try:
        yield server
    finally:
        server.record_use()
        if server.is_ours:
            server.stop()
        else:
            show("up", "the embedded server of an earlier run keeps running. Remedy: to end it too, use `kill`")


def free_port(host: str, port: int, *, patience: float = 0.0) -> int:
    """`processes.usable_port`, tried for up to `patience` seconds."""
    deadline = clock.monotonic() + patience
    while True:
        try:
            return processes.usable_port(host, port)
        except BridgeError:
            if clock.monotonic() >= deadline:
                raise
            time.sleep(_TICK_SECONDS)


def child_environment() -> Mapping[str, str]:
    """Our own environment. Children write into pipes, so output that suits a terminal is chosen here."""
    context = click.get_current_context(silent=True)
    plain = {"NO_COLOR": "1"} if context is not None and context.color is False else {}
    return {**environment(), _LOG_FORMAT: "console" if _is_for_people() else "json", **plain}


def printer(names: Sequence[str]) -> Callable[[str, str], None]:
    """Writes the lines of several processes to stderr: for people with the process's name in front, in colour on a
    terminal; for programs as one JSON object each, with the member `part`.

    The writer never blocks and never raises, whatever becomes of stderr.
    """
    width, stderr = max(map(len, names)), line_writer(sys.stderr)
    context, for_people = click.get_current_context(silent=True), _is_for_people()
    asked = None if context is None else context.color
    coloured = stderr.isatty() and not wants_no_colours() if asked is None else asked
    colours = dict(zip(names, _COLOURS, strict=False)) if coloured else {}

    def show(name: str, line: str) -> None:
        if not line.strip():
            return
        if not for_people:
            stderr.write(f"{_json_line(name, line)}\n")
            return
        prefix = f"{name:<{width}} |"
        stderr.write(f"{click.style(prefix, fg=colours[name]) if name in colours else prefix} {line}\n")

    return show


def _is_for_people() -> bool:
    """Whether lines are written for a reader at a terminal, not as JSON."""
    log_format = environment().get(_LOG_FORMAT, "auto")
    return log_format == "console" or (log_format == "auto" and sys.stderr is not None and sys.stderr.isatty())


def _json_line(name: str, line: str) -> str:
    """A line of a part as JSON: a logged one with `part` added, any other as the `event`."""
    try:
        logged = json.loads(line)
    except ValueError:
        logged = None
    if not isinstance(logged, dict):
        logged = {"event": line, "level": "info"}
    return json.dumps({**logged, "part": name}, ensure_ascii=False)
