"""`beat`: the process that schedules."""

from __future__ import annotations

import click

from bridge.cli.process_start import start_process
from bridge.runtime.reload import Reloader
from workers.app import run_beat

__all__ = ["beat"]


@click.command()
def beat() -> None:
    """Schedule the work of the workers. One process is enough; a second one does no harm."""
    reloader = Reloader("beat")
    services = start_process("beat")
    with reloader.running(services):
        run_beat(services)
