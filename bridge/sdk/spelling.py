"""Whether two spellings mean one id: in another case, another Unicode form, with blanks around it. Pure."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

__all__ = ["alike", "folded_id", "folded_key", "same_attempt"]


def folded_id(text: str) -> str:
    """A form in which all spellings of one id are equal: only for comparison, never published or sent to the API."""
    # Folding may take a text out of its normal form.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).casefold())


def alike(text: str, other: str) -> bool:
    """Whether two spellings may mean the same id. Only for texts that the vendor documents as equivalent."""
    return text == other or folded_id(text) == folded_id(other)


def folded_key(key: str) -> str:
    """`folded_id` of an attempt id or a key of a watch, whose parts may be percent-encoded."""
    return folded_id(unquote(key))


def same_attempt(attempt_id: str, key: str) -> bool:
    """Whether an attempt id is the same as a key, whose percent-encoded parts may be spelt differently."""
    return attempt_id == key or folded_key(attempt_id) == folded_key(key)
