"""Where a form leads to: pages of the dashboard, never another site. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

__all__ = ["local_target"]

_PREFIX = "/ui/"
#: Printable ASCII without blanks and backslashes, which browsers read as slashes.
_PLAIN = re.compile(r"/ui/[!-\[\]-~]*")


def local_target(given: str) -> str:
    """The address if it is one of the dashboard, otherwise that of the overview."""
    path = given.partition("?")[0].partition("#")[0]
    # Browsers remove a part `..` together with the one before it, even if it is escaped.
    is_ours = _PLAIN.fullmatch(given) and not {".", ".."} & set(unquote(path).split("/"))
    return given if is_ours else _PREFIX
