"""`version`: the same as `--version`."""

from __future__ import annotations

import click

from bridge import __version__

__all__ = ["version"]


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"attempt-bridge, version {__version__}")
