"""`worker`: the process that polls."""

from __future__ import annotations

import click

from bridge.cli.process_start import start_process
from bridge.runtime.reload import Reloader
from bridge.telemetry.process import tracing_process
from workers.app import run_worker

__all__ = ["worker"]


@click.command()
def worker() -> None:
    """Poll vendors and recheck open attempts."""
    reloader = Reloader("worker")
    services = start_process("worker")
    with reloader.running(services), tracing_process("worker", services.config.bridge.name):
        run_worker(services, on_signals=reloader.listen)
