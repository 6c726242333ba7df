"""`up`: the whole bridge in one terminal, with the embedded server unless `state` is given."""

from __future__ import annotations

import click

from bridge.cli.common import load_services
from bridge.cli.options import host_option, port_option
from bridge.runtime.up import run

__all__ = ["up"]


@click.command()
@host_option
@port_option
@click.option(
    "--accept-empty",
    is_flag=True,
    help="Start although data of the embedded server is gone; attempts are published again.",
)
def up(host: str, port: int, accept_empty: bool) -> None:
    """Run the whole bridge in this terminal until Ctrl-C.

    Starts web, worker, beat and dispatch, and the embedded server unless a state server is configured. Prints `ready
    http://...` once all of them answer.
    """
    click.get_current_context().exit(run(load_services(), host, port, accept_empty=accept_empty))
