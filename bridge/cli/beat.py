"""`beat`: the process that says when something is due."""

from __future__ import annotations

import click

from bridge.cli.process_start import start_process
from workers.app import run_beat

__all__ = ["beat"]


@click.command()
def beat() -> None:
    """Schedule the work of the workers. One process is enough; a second one does no harm."""
    run_beat(start_process("beat"))
