"""The simulated vendors of a demo, each with its API on a port of this machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from werkzeug.serving import make_server

from bridge import clock
from bridge.sandbox.conditions import SCALE, Conditions
from bridge.sdk.simulator import Faults, SimulatedVendor

__all__ = ["RunningVendor", "open_vendors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningVendor:
    """One simulated vendor and the address of its API."""

    simulator: SimulatedVendor
    base_url: str


@contextmanager
def open_vendors(conditions: Conditions, *, run: int) -> Iterator[Mapping[str, RunningVendor]]:
    """The vendors of a demo by name, running inside the block; each has its own seed."""
    # Not a log line for each call to the simulated APIs.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    faults = Faults(
        lose=conditions.lose, duplicate=conditions.duplicate, delay=conditions.delay, reorder=conditions.reorder
    )
    with ExitStack() as stack:
        vendors = {}
        for number, name in enumerate(conditions.vendors):
            module: Any = import_module(f"bridge.vendors.{name.replace('-', '_')}.simulator")
            seed = (conditions.seed * 1_000 + run) * 100 + number
            simulator: SimulatedVendor = module.sandbox(seed, clock.now, scale=SCALE, faults=faults)
            vendors[name] = RunningVendor(simulator=simulator, base_url=stack.enter_context(_served(simulator)))
        yield vendors


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
