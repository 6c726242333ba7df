"""`attempt-bridge demo` from start to end: a real bridge between simulated vendors and four subscribers."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import IO

from rich.console import Console

from bridge import clock, services
from bridge.config import access
from bridge.errors import ConfigError, clip
from bridge.runtime import processes, up
from bridge.runtime.processes import Address
from bridge.runtime.supervisor import Supervisor
from bridge.sandbox import subscribers
from bridge.sandbox.conditions import SCALE, Conditions, Places, VendorPlace, configuration
from bridge.sandbox.course import Course
from bridge.sandbox.screen import Screen
from bridge.sandbox.vendors import Stand, open_vendors
from bridge.settings import PREFIX, Settings, environment
from bridge.state.embedded_server import addresses, hold_directory

__all__ = ["run"]

#: So many attempts with something wrong are named on the terminal; all of them are in the log.
_NAMED = 20


def run(conditions: Conditions, data_dir: Path, host: str, port: int) -> int:
    """Run a demo until a signal comes or, with `once`, its verdict is in; the exit code of the process.

    Raises `ConfigError` and `BridgeError` as `up` does.
    """
    signals, since = up.Signals(), clock.now()
    with ExitStack() as stack:
        stack.enter_context(hold_directory(data_dir))
        number = _next_run(data_dir / "run")
        stands = stack.enter_context(open_vendors(conditions, run=number))
        state_url, broker_url = addresses(data_dir)
        address = Address(
            config=data_dir / "bridge.yaml",
            state_url=state_url,
            broker_url=broker_url,
            host=host,
            port=up.free_port(host, port),
        )
        places = _places(address, stands)
        address.config.write_text(configuration(places))
        ready = services.load(Settings(config=address.config, time_scale=SCALE))
        server, _ = stack.enter_context(up.embedded_server(ready))
        inbox = subscribers.Inbox()
        log = _Log(stack.enter_context((data_dir / "demo.log").open("w", buffering=1)), inbox)
        children = [
            *processes.programs(address, {**environment(), f"{PREFIX}TIME_SCALE": str(SCALE)}),
            *subscribers.programs(address, places, conditions, environment()),
        ]
        said = access.first_token(ready.config)
        supervisor = stack.enter_context(Supervisor(children, on_line=log))
        screen = stack.enter_context(Screen(Console(), _heading(conditions, number, data_dir)))
        readiness = up.Readiness(
            address,
            since=since,
            show=lambda name, line: screen.say(f"{name}: {line}"),
            on_ready=supervisor.settle,
        )
        course = Course(
            conditions,
            ready,
            stands,
            run=number,
            inbox=inbox,
            webhook_urls={
                name: f"{address.web_url}/webhooks/{name}/{place.token}" for name, place in places.vendors.items()
            },
        )
        # The vendors fall silent first, so that nothing is refused by a bridge that is stopping.
        for stand in stands.values():
            stack.callback(stand.simulator.stop)
        if said is not None:
            screen.say(said)
        up.supervise(supervisor, server, signals, lambda: course.look(readiness, screen))
        screen.say("stopping")
    return _end(course, log, signals.received, screen, once=conditions.once)


def _end(course: Course, log: _Log, received: int | None, screen: Screen, *, once: bool) -> int:
    if course.figures is not None:
        screen.say(course.figures.line())
    if received is not None or not once:
        return up.exit_code(received)
    for problem in course.problems[:_NAMED]:
        screen.say(f"wrong: {problem}")
    if course.problems:
        screen.say(f"failed: {len(course.problems)} attempt(s) are not everywhere exactly once")
        return 1
    screen.say("every attempt is in the journal exactly once and reached every subscriber")
    return 0


class _Log:
    """Lines of all child processes go into a file; events that subscribers print go to the inbox."""

    def __init__(self, file: IO[str], inbox: subscribers.Inbox) -> None:
        self._file = file
        self._inbox = inbox
        self._one_at_a_time = Lock()

    def __call__(self, name: str, line: str) -> None:
        if self._inbox.take(name, line):
            return
        with self._one_at_a_time:
            self._file.write(f"{name:<12} | {line}\n")


def _places(address: Address, stands: Mapping[str, Stand]) -> Places:
    return Places(
        web_url=address.web_url,
        crm_url=f"http://127.0.0.1:{processes.usable_port('127.0.0.1', 0)}/",
        crm_secret="whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        vendors={
            name: VendorPlace(
                base_url=stand.base_url,
                credentials=stand.simulator.credentials,
                options=stand.simulator.options,
                token=secrets.token_urlsafe(24),
            )
            for name, stand in stands.items()
        },
    )


def _next_run(file: Path) -> int:
    """The number of this run on its data directory, from 1. Raises `ConfigError` when the file is not ours."""
    try:
        number = int(file.read_text()) + 1 if file.exists() else 1
    except ValueError as error:
        raise ConfigError(f"{file}: not a number ({clip(error)}). Remedy: give another --data-dir") from error
    file.write_text(f"{number}\n")
    return number


def _heading(conditions: Conditions, number: int, data_dir: Path) -> str:
    faults = (
        f"{conditions.lose:.0%} are lost, {conditions.duplicate:.0%} sent twice, all up to {conditions.delay:g} s late"
    )
    return (
        f"Attempt Bridge demo, run {number} on {data_dir} (log: {data_dir / 'demo.log'})\n"
        f"Simulated vendors: {', '.join(conditions.vendors)}; what takes their people or the bridge an hour takes "
        f"{3600 / SCALE:g} s.\nOf their webhooks {faults}{' and out of order' if conditions.reorder else ''}; "
        f"the crm refuses {conditions.fail_subscriber:.0%} of its events."
    )
