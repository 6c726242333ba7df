"""`web`: the process that receives webhooks."""

from __future__ import annotations

import click

from bridge.cli.options import host_option, port_option
from bridge.cli.process_start import start_process
from bridge.web.server import run

__all__ = ["web"]


@click.command()
@host_option
@port_option
@click.option("--workers", type=click.IntRange(1), help="Number of server processes; default: one per core.")
def web(host: str, port: int, workers: int | None) -> None:
    """Receive webhooks; serve the API and health checks."""
    # Does not wait: while the state server is down, vendors get a 503 and send again.
    run(start_process("web", wait=False), host, port, workers)
