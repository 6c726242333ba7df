"""The example configuration: where it is, what it needs, and which parts of it a configuration still has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import bridge
from bridge.config.model import Config
from bridge.net.server_group import is_group, server_group

__all__ = ["example_text", "left_over_addresses", "needed_names"]

#: Domains in which nobody can have an address (RFC 2606).
_EXAMPLE_HOST = re.compile(r"(.+\.)?(example\.(com|net|org)|example)")
_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FILE = "bridge.example.yaml"


def example_text() -> str:
    """The commented example: in the package, or beside it in a working copy."""
    inside = Path(bridge.__file__).parent
    return next(path for folder in (inside, inside.parent) if (path := folder / _FILE).exists()).read_text("utf-8")


def needed_names(text: str) -> list[str]:
    """The environment variables that a configuration refers to, ignoring its comments."""
    used = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return list(dict.fromkeys(name for line in used for name in _NAME.findall(line)))


def left_over_addresses(config: Config) -> Iterator[tuple[str, str]]:
    """Path and host of every address that is still the example's."""
    addresses = [("bridge.public_url", config.bridge.public_url)]
    addresses += [(f"sources.{name}.base_url", source.base_url) for name, source in config.sources.items()]
    for name, subscription in config.subscriptions.items():
        addresses += [
            (f"subscriptions.{name}.url", subscription.url or ""),
            (f"subscriptions.{name}.broker", subscription.broker or ""),
        ]
    for path, address in addresses:
        group = server_group(address).hosts if is_group(address) else ((urlsplit(address).hostname or "", 0),)
        yield from ((path, host) for host, _ in group if _EXAMPLE_HOST.fullmatch(host))
