"""The simulated vendor of a demo: its API on a port of this machine, its webhooks towards the bridge."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.serving import make_server

from bridge import clock
from bridge.sandbox.conditions import QUOTA_CALLS, QUOTA_SECONDS, SCALE, Conditions
from bridge.simulating import Faults
from bridge.vendors.classmarker.simulator import Simulator, Traits

__all__ = ["open_vendor"]


@contextmanager
def open_vendor(conditions: Conditions, *, run: int, secret: str) -> Iterator[tuple[Simulator, str]]:
    """The simulator and the address of its API while the block runs. `secret` signs its webhooks and our calls."""
    simulator = Simulator(
        conditions.seed * 1_000 + run,
        clock.now,
        api_secret=secret,
        webhook_secret=secret,
        quota_calls=QUOTA_CALLS,
        quota_window=QUOTA_SECONDS / SCALE,
        faults=Faults(
            lose=conditions.lose,
            duplicate=conditions.duplicate,
            delay=conditions.delay,
            reorder=conditions.reorder,
        ),
        traits=Traits(retry_schedule=(0.5, 1.0, 2.0, 5.0, 10.0)),
    )
    # The development server's own lines about each call are of no use here.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, simulator.wsgi, threaded=True)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield simulator, f"http://127.0.0.1:{server.server_port}"
    finally:
        simulator.stop()
        server.shutdown()
        serving.join()
        server.server_close()
