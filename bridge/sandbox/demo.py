"""Runs `attempt-bridge demo`: a real bridge between simulated vendors and example subscribers."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Lock
from typing import IO

from rich.console import Console

from bridge import clock, registry, services
from bridge.config import access
from bridge.config.open_access import HOSTS
from bridge.errors import ConfigError, clip
from bridge.net.standard_webhooks import new_hmac_secret
from bridge.notify.services import open_services
from bridge.runtime import processes, up
from bridge.runtime.dashboard_link import dashboard_line
from bridge.runtime.processes import Address
from bridge.runtime.server_restarts import ServerRestarts
from bridge.runtime.supervisor import Supervisor
from bridge.sandbox import subscribers
from bridge.sandbox.conditions import SCALE, Addresses, Conditions, VendorAddress, configuration
from bridge.sandbox.demo_run import DemoRun
from bridge.sandbox.screen import Screen
from bridge.sandbox.vendors import RunningVendor, open_vendors
from bridge.settings import PREFIX, Settings, environment, process_environment
from bridge.state.data_directory import hold_directory
from bridge.state.server_socket import addresses, prepare_socket

__all__ = ["run"]

#: Problems printed on the terminal.
_PROBLEMS_SHOWN = 20


def run(conditions: Conditions, data_dir: Path, host: str, port: int) -> int:
    """Run a demo until a signal or, with `once`, until its verdict. Returns the exit code.

    Raises `ConfigError` and `BridgeError` as `up` does.
    """
    signals, since = up.Signals(), clock.now()
    if "notify" in conditions.outputs:
        open_services(["json://127.0.0.1/"], where="--with notify", allow_private=True)
    with ExitStack() as stack:
        was_killed = stack.enter_context(hold_directory(data_dir))
        port = up.free_port(host, port, patience=up.PORT_WAIT_SECONDS if was_killed else 0.0)
        prepare_socket(data_dir)
        number = _next_run(data_dir / "run")
        left_out: list[str] = []
        vendors = stack.enter_context(open_vendors(conditions, run=number, left_out=left_out.append))
        state_url, broker_url = addresses(data_dir)
        address = Address(
            config=data_dir / "bridge.yaml",
            state_url=state_url,
            broker_url=broker_url,
            host=host,
            port=port,
        )
        demo_addresses = _make_addresses(address, vendors, data_dir)
        address.config.write_text(configuration(demo_addresses, conditions.outputs))
        ready = services.load(Settings(config=address.config, time_scale=SCALE, open_access=host in HOSTS))
        server = stack.enter_context(up.embedded_server(ready, up.printer(("up",))))
        inbox = subscribers.Inbox(conditions.outputs)
        log = _Log(stack.enter_context((data_dir / "demo.log").open("w", buffering=1)), inbox)
        children = [
            *processes.programs(address, {**environment(), **_of_demos(ready)}),
            *subscribers.programs(address, demo_addresses, conditions, process_environment()),
        ]
        notes = [*left_out, *ready.broken_vendors.values(), *_notes(ready, host)]
        supervisor = stack.enter_context(Supervisor(children, on_line=log))
        screen = stack.enter_context(Screen(Console(), _heading(conditions, vendors, number, data_dir)))
        readiness = up.Readiness(
            address,
            since=since,
            show=lambda name, line: screen.say(f"{name}: {line}"),
            on_ready=lambda: _settle(supervisor, screen, dashboard_line(ready, address.web_url)),
        )
        demo_run = DemoRun(
            conditions,
            ready,
            vendors,
            run=number,
            inbox=inbox,
            webhook_urls={
                name: f"{address.web_url}/webhooks/{name}/{vendor_address.token}"
                for name, vendor_address in demo_addresses.vendors.items()
                if vendor_address.token is not None
            },
        )
        # The vendors stop first: a stopping bridge would refuse their webhooks.
        for vendor in vendors.values():
            stack.callback(vendor.simulator.stop)
        for line in notes:
            screen.say(line)
        restarts = None if server is None else ServerRestarts(server, log)
        up.supervise(supervisor, restarts, signals, lambda: demo_run.step(readiness, screen))
        screen.say("stopping")
    return _end(demo_run, log, signals.received, screen, once=conditions.once)


def _end(demo_run: DemoRun, log: _Log, received: int | None, screen: Screen, *, once: bool) -> int:
    if demo_run.figures is not None:
        screen.say(demo_run.figures.line())
    if received is not None or not once:
        return up.exit_code(received)
    for problem in demo_run.problems[:_PROBLEMS_SHOWN]:
        screen.say(f"problem: {problem}")
    if demo_run.problems:
        screen.say(f"failed: {len(demo_run.problems)} attempt(s) did not arrive everywhere exactly once")
        return 1
    screen.say("every attempt is in the journal exactly once and reached every subscriber")
    return 0


class _Log:
    """Writes the lines of all child processes to a file, except events of subscribers, which go to the inbox."""

    def __init__(self, file: IO[str], inbox: subscribers.Inbox) -> None:
        self._file = file
        self._inbox = inbox
        self._lock = Lock()

    def __call__(self, name: str, line: str) -> None:
        if self._inbox.take(name, line):
            return
        # A full disk loses lines of the log, not the demo.
        with self._lock, suppress(OSError):
            self._file.write(f"{name:<12} | {line}\n")


def _of_demos(ready: services.Services) -> dict[str, str]:
    """Settings that only the processes of a demo may have."""
    return {f"{PREFIX}TIME_SCALE": str(SCALE), f"{PREFIX}OPEN_ACCESS": str(int(ready.settings.open_access))}


def _notes(ready: services.Services, host: str) -> list[str]:
    """Lines about signing in, with the token of the first start if it is needed."""
    if ready.settings.open_access:
        return []
    token = access.first_token(ready.config)
    return [f"dashboard and API need signing in: {host} is not a loopback address", *([token] if token else [])]


def _settle(supervisor: Supervisor, screen: Screen, line: str) -> None:
    supervisor.settle()
    screen.say(line)


def _make_addresses(address: Address, vendors: Mapping[str, RunningVendor], data_dir: Path) -> Addresses:
    crm, chat, lrs = (f"127.0.0.1:{processes.usable_port('127.0.0.1', 0)}" for _ in range(3))
    return Addresses(
        web_url=address.web_url,
        crm_url=f"http://{crm}/",
        database=data_dir.resolve() / "results.db",
        chat_url=f"json://{chat}/",
        lrs_url=f"http://{lrs}/statements",
        lrs_password=secrets.token_urlsafe(24),
        crm_secret=new_hmac_secret(secrets.token_bytes(32)),
        vendors={
            name: VendorAddress(
                base_url=vendor.base_url,
                quota=registry.vendors()[name].quota,
                credentials=vendor.simulator.credentials,
                options=vendor.simulator.options,
                token=secrets.token_urlsafe(24) if vendor.sends_webhooks else None,
            )
            for name, vendor in vendors.items()
        },
    )


def _next_run(file: Path) -> int:
    """The number of this run in its data directory, from 1. Raises `ConfigError` if the file holds no number."""
    try:
        number = int(file.read_text()) + 1 if file.exists() else 1
    except ValueError as error:
        raise ConfigError(f"{file}: not a number ({clip(error)}). Remedy: choose another --data-dir") from error
    file.write_text(f"{number}\n")
    return number


def _heading(conditions: Conditions, vendors: Iterable[str], number: int, data_dir: Path) -> str:
    faults = (
        f"{conditions.lose:.0%} are lost, {conditions.duplicate:.0%} sent twice, and all delayed by up to "
        f"{conditions.delay:g} s"
    )
    return (
        f"Attempt Bridge demo, run {number} on {data_dir} (log: {data_dir / 'demo.log'})\n"
        f"Simulated vendors: {', '.join(vendors)}. An hour takes {3600 / SCALE:g} s.\n"
        f"Of the webhooks, {faults}{', out of order' if conditions.reorder else ''}. "
        f"The subscriber crm refuses {conditions.fail_subscriber:.0%} of its events."
    )
