"""Writes files that did not exist before: all of them, or none."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import click

__all__ = ["write_new"]


def write_new(files: Mapping[Path, str], *, private: Collection[Path] = ()) -> None:
    """Write each text, the `private` ones readable only by this user. Leaves nothing if it raises `ClickException`."""
    written: list[Path] = []
    try:
        for path, text in files.items():
            mode = 0o600 if path in private else 0o666
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(path)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        for made in written:
            made.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise click.ClickException(f"{path} exists. Remedy: edit it, or name another file with --config") from error
        raise click.ClickException(f"cannot write {path}: {error.strerror}. Remedy: choose another file") from error
