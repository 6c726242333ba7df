"""Where a form leads to: pages of the dashboard, never another site. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["local_target"]

_PREFIX = "/ui/"


def local_target(given: str) -> str:
    """The address if it is one of the dashboard, else that of the overview."""
    parts = urlsplit(given)
    is_ours = not parts.scheme and not parts.netloc and parts.path.startswith(_PREFIX)
    is_plain = given.isascii() and given.isprintable() and "\\" not in given
    return given if is_ours and is_plain else _PREFIX
