"""The headers of a webhook, and which are stored: no secrets, and not too much, because anybody can send a request."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any
from urllib.parse import unquote

__all__ = ["KEPT_BYTES", "KEPT_NAMES", "read_headers"]

#: Limits of what is stored of one request's headers: bytes as JSON, number of headers, characters of a value.
KEPT_BYTES = 4096
KEPT_NAMES = 32
_KEPT_VALUE = 200
#: Stored first.
_ALWAYS = ("content-type", "content-length", "user-agent")
#: An `x-` header with one of these in its name is not stored: its value may be a secret, or an address with a token.
_SECRET_WORDS = (
    "auth",
    "cookie",
    "key",
    "password",
    "path",
    "query",
    "refer",
    "request-line",
    "rewrite",
    "secret",
    "session",
    "token",
    "uri",
    "url",
)


def read_headers(environ: Mapping[str, Any], token: str) -> tuple[dict[str, str], dict[str, str]]:
    """All headers with lower-case names, and the ones to store, clipped.

    `token`: of the address, if any: a header that repeats it is not stored, whatever its name.
    """
    headers: dict[str, str] = {}
    candidates: list[str] = []
    for key, value in environ.items():
        name, keep = _header_name(key)
        if name:
            headers[name] = value
            if keep:
                candidates.append(name)
    kept: dict[str, str] = {}
    room = KEPT_BYTES
    for name in [*(name for name in _ALWAYS if name in headers), *candidates]:
        value = headers[name]
        if token and (token in value or token in unquote(value)):
            continue
        value = value[:_KEPT_VALUE]
        # As the JSON that is stored, with its colon and comma: a non-ASCII character takes six bytes or more.
        size = len(encode_basestring_ascii(name)) + len(encode_basestring_ascii(value)) + 2
        if len(kept) < KEPT_NAMES and size <= room:
            kept[name] = value
            room -= size
    return headers, kept


@lru_cache(maxsize=512)
def _header_name(key: str) -> tuple[str, bool]:
    """The name of the header that a WSGI key holds, "" for other keys; and whether it may be stored."""
    if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if not key.startswith("HTTP_"):
        return "", False
    name = key[5:].lower().replace("_", "-")
    return name, name.startswith("x-") and not any(word in name for word in _SECRET_WORDS)
