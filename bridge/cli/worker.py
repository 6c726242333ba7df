"""`worker`: the process that polls."""

from __future__ import annotations

import click

from bridge.cli.process_start import start_process
from workers.app import run_worker

__all__ = ["worker"]


@click.command()
def worker() -> None:
    """Poll vendors and recheck open attempts."""
    run_worker(start_process("worker"))
