"""`schema list|export`: the public contract as files."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.errors import BridgeError

__all__ = ["schema"]


@click.group()
def schema() -> None:
    """Print or export the schemas of the events."""


@schema.command("list")
def list_() -> None:
    """Name the documents."""
    from schemas.export import documents  # noqa: PLC0415 - `--help` must be quick

    for name in documents():
        click.echo(name)


@schema.command()
@click.argument("name")
def show(name: str) -> None:
    """Print one document."""
    from bridge.cli.common import known_name  # noqa: PLC0415
    from schemas.export import documents  # noqa: PLC0415

    found = documents()
    click.echo(found[known_name(name, found, "document")], nl=False)


@schema.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
def export(directory: Path) -> None:
    """Write all documents into DIRECTORY, which is made if needed."""
    from schemas.export import write  # noqa: PLC0415

    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in write(directory):
            click.echo(path)
    except OSError as error:
        raise BridgeError(
            f"{error.filename}: cannot be written: {error.strerror}. Remedy: name another directory"
        ) from error
