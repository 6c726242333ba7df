"""The CSV file of `watches import`."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.web.watch_csv import Line, NotCsv, document
from bridge.web.watch_csv import read_lines as lines_of

__all__ = ["Line", "document", "read_lines"]


def read_lines(file: Path) -> list[Line]:
    """The lines of a file. Raises `click.ClickException` with the line of the first that is not well-formed."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file}: not UTF-8 at byte {error.start}. Save it as UTF-8") from error
    try:
        return lines_of(text)
    except NotCsv as problem:
        raise click.ClickException(f"{file}:{problem.line}: {problem}; nothing was registered") from problem
