"""The address of a bridge, given as `--url`. Imports no client: `--help` needs it."""

from __future__ import annotations

from urllib.parse import urlsplit

import click

from bridge.errors import clip

__all__ = ["web_address"]


def web_address(ctx: click.Context, param: click.Parameter, given: str | None) -> str | None:
    """The address without its trailing slash, None without one. Raises `click.BadParameter`."""
    if given is None:
        return None
    try:
        parts = urlsplit(given)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and not (parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter(f'"{clip(given)}" is not a valid web address. Write it as https://bridge.example.org')
    return given.rstrip("/")
