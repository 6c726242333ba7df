"""Whether two spellings mean one id: in another case, another Unicode form, with blanks around it. Pure."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

__all__ = ["alike", "folded_id", "folded_key", "same_attempt"]


def folded_id(text: str) -> str:
    """A form in which all spellings of one id are equal: for comparing only, never to be published or asked for."""
    # Folding may take a text out of its normal form.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).casefold())


def alike(text: str, other: str) -> bool:
    """Whether two spellings may mean the same id. Only for texts of which the vendor says that both are one."""
    return text == other or folded_id(text) == folded_id(other)


def folded_key(key: str) -> str:
    """`folded_id` of an attempt id or a key of a watch, whose parts may be percent-encoded."""
    return folded_id(unquote(key))


def same_attempt(attempt_id: str, key: str) -> bool:
    """Whether an attempt id is that of a key, which may spell its percent-encoded parts in another way."""
    return attempt_id == key or folded_key(attempt_id) == folded_key(key)
