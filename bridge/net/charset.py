"""Finds the character set of an answer by its byte order mark, its media type, or its first bytes. Pure."""

from __future__ import annotations

import codecs
import json
import re

from bridge.errors import Unreadable, clip

__all__ = ["to_utf8"]

_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\";\s]+)", re.IGNORECASE)
#: Character sets in which JSON is seen; Python also has codecs that are not character sets.
_KNOWN = ("ascii", "big5", "cp125", "euc", "gb", "iso8859", "koi8", "shift_jis", "utf-16", "utf-32", "utf-8")
#: Byte order marks, the longer ones first. They override a declaration.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def to_utf8(content: bytes, content_type: str) -> bytes:
    """The same text in UTF-8 without byte order mark; XML that names its own encoding stays as it is.

    What is not valid becomes U+FFFD. Raises `Unreadable` for a declared character set that is not known.
    """
    for mark, charset in _MARKS:
        if content.startswith(mark):
            return _recoded(content[len(mark) :], charset)
    if content.lstrip().startswith(b"<?xml"):
        return content
    declared = _CHARSET.search(content_type)
    if declared is None:
        # Without a declaration JSON may be in UTF-16 or UTF-32: its first two characters are ASCII.
        return _recoded(content, json.detect_encoding(content))
    try:
        charset = codecs.lookup(declared[1]).name
    except (LookupError, ValueError):
        charset = ""
    if not charset.startswith(_KNOWN):
        raise Unreadable(
            f'answer is in the character set "{clip(declared[1], 40)}". Known: UTF-8', reason="bad_charset"
        )
    return _recoded(content, charset)


def _recoded(content: bytes, charset: str) -> bytes:
    return (
        content if charset.startswith("utf-8") else content.decode(charset, errors="replace").encode(errors="replace")
    )
