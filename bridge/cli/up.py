"""`up`: the whole bridge in one terminal, with the embedded server unless `state` is given."""

from __future__ import annotations

import click

__all__ = ["up"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that web listens on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: any free one.")
def up(host: str, port: int) -> None:
    """Run web, worker, beat, dispatch and the embedded server until Ctrl-C.

    Prints `ready http://...` once all parts answer.
    """
    from bridge.cli.common import load_services  # noqa: PLC0415
    from bridge.runtime import up as runtime_up  # noqa: PLC0415 - `--help` must be quick

    click.get_current_context().exit(runtime_up.run(load_services(), host, port))
