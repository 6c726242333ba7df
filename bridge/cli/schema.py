"""`schema`: the schemas of the events as JSON documents."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.options import known_name
from bridge.errors import BridgeError
from schemas.export import documents, write

__all__ = ["schema"]


@click.group()
def schema() -> None:
    """List, show or export the event schemas."""


@schema.command("list")
def list_() -> None:
    """List the documents."""
    for name in documents():
        click.echo(name)


@schema.command()
@click.argument("name")
def show(name: str) -> None:
    """Show one document."""
    by_name = documents()
    click.echo(by_name[known_name(name, by_name, "document")], nl=False)


@schema.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
def export(directory: Path) -> None:
    """Write all documents into DIRECTORY, which is created if needed."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in write(directory):
            click.echo(path)
    except OSError as error:
        raise BridgeError(
            f"cannot write {error.filename}: {error.strerror}. Remedy: choose another directory"
        ) from error
