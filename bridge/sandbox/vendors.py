"""The simulated vendors of a demo, each with its API on a port of this machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from werkzeug.serving import make_server

from bridge import clock, registry
from bridge.errors import ConfigError, clip
from bridge.sandbox.conditions import SCALE, Conditions
from bridge.sdk.simulator import Faults, SimulatedVendor

__all__ = ["RunningVendor", "open_vendors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningVendor:
    """One simulated vendor and the address of its API."""

    simulator: SimulatedVendor
    base_url: str
    sends_webhooks: bool


@contextmanager
def open_vendors(
    conditions: Conditions, *, run: int, left_out: Callable[[str], object]
) -> Iterator[Mapping[str, RunningVendor]]:
    """The vendors of a demo by name, running inside the block; each has its own seed.

    `left_out` is called with one line about each vendor that cannot be simulated. Raises `ConfigError` if none can.
    """
    # No log line for each call to the simulated APIs.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    faults = Faults(
        lose=conditions.lose, duplicate=conditions.duplicate, delay=conditions.delay, reorder=conditions.reorder
    )
    with ExitStack() as stack:
        vendors, problems = {}, list[str]()
        for number, name in enumerate(conditions.vendors):
            seed = (conditions.seed * 1_000 + run) * 100 + number
            try:
                simulator = _simulator(name, seed, faults)
            except ConfigError as error:
                problems += error.problems
                continue
            vendors[name] = RunningVendor(
                simulator=simulator,
                base_url=stack.enter_context(_served(simulator)),
                sends_webhooks=registry.vendors()[name].split is not None,
            )
        if not vendors:
            raise ConfigError(*problems)
        for problem in problems:
            left_out(problem)
        yield vendors


def _simulator(name: str, seed: int, faults: Faults) -> SimulatedVendor:
    """Raises `ConfigError` with one line if the vendor's folder has no simulator that works."""
    module: Any = registry.simulator(name)
    if module is None:
        raise ConfigError(
            f"vendor {name}: not simulated: its folder has no simulator.py. Remedy: write it, or leave the vendor out "
            "with --vendors"
        )
    try:
        simulator: SimulatedVendor = module.sandbox(seed, clock.now, scale=SCALE, faults=faults)
    except Exception as error:
        raise ConfigError(
            f"vendor {name}: sandbox() of simulator.py fails: {type(error).__name__}: {clip(error, 200)}. Remedy: "
            "correct it, or leave the vendor out with --vendors"
        ) from error
    return simulator


@contextmanager
def _served(simulator: SimulatedVendor) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, simulator.wsgi, threaded=True)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{simulator.base_path}"
    finally:
        simulator.stop()
        server.shutdown()
        serving.join()
        server.server_close()
