"""The markers around generated text: `<!-- scripts/docs: NAME -->` and `<!-- /scripts/docs: NAME -->`. Pure."""

from __future__ import annotations

import re

from bridge.errors import ConfigError

__all__ = ["begin", "end", "marked", "marked_names", "replaced"]

_BEGIN = re.compile(r"<!-- scripts/docs: ([a-z0-9-]+) -->")


def begin(name: str) -> str:
    """The line before the generated part `name`."""
    return f"<!-- scripts/docs: {name} -->"


def end(name: str) -> str:
    """The line after it."""
    return f"<!-- /scripts/docs: {name} -->"


def marked(name: str, part: str) -> str:
    """The generated part between its markers. A part of one line stays within the paragraph around it."""
    gap = "\n\n" if "\n" in part else ""
    return f"{begin(name)}{gap}{part.strip()}{gap}{end(name)}"


def marked_names(text: str) -> list[str]:
    """The names of the generated parts of a document."""
    return _BEGIN.findall(text)


def replaced(text: str, name: str, part: str) -> str:
    """The document with its part `name` replaced. Raises `ConfigError` if its markers are missing."""
    before, first, rest = text.partition(begin(name))
    _, last, after = rest.partition(end(name))
    if not (first and last):
        raise ConfigError(f"no place for the part {name}. Remedy: put {begin(name)} and {end(name)} where it belongs")
    return f"{before}{marked(name, part)}{after}"
