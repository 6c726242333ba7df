"""`dispatch`: the process that delivers."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import click

from bridge.cli.process_start import start_process
from bridge.runtime.reload import Reloader
from bridge.telemetry.process import tracing_process
from workers.dispatch.process import run_dispatch

__all__ = ["dispatch"]


@click.command()
def dispatch() -> None:
    """Deliver events to subscriptions."""
    reloader, stop = Reloader("dispatch"), threading.Event()
    services = start_process("dispatch")

    def request_stop(number: int, frame: FrameType | None) -> None:
        # Not `stop.set()` itself: the interrupted main thread may be holding that very lock in `stop.wait()`.
        threading.Thread(target=stop.set).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, request_stop)
    with reloader.running(services), tracing_process("dispatch", services.config.bridge.name):
        run_dispatch(services, stop)
