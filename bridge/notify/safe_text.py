"""Foreign text in messages, so that it can neither mention, link nor mark up. Pure.

The services' own conversions escape HTML, Markdown and Slack's entities; this is for what remains: mentions and
addresses in plain text, titles that services do not convert, characters that hide or reorder others.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["for_chat", "for_mail"]

#: Longest value, characters.
_LONGEST = 1_000
#: Invisible: what follows no longer counts as a mention or an address.
_GAP = "\u200b"
_MENTION = re.compile(r"@(?=\S)")
_CHAT = str.maketrans({"<": "\u2039", ">": "\u203a"})


def for_mail(text: str) -> str:
    """A value in the text or subject of a mail: one line, and no address in it is made a link."""
    return _plain(text).replace("://", f":{_GAP}//")


def for_chat(text: str) -> str:
    """A value in a chat: as for mail, and nobody is mentioned, and no label hides an address."""
    text = for_mail(text).translate(_CHAT).replace("](", f"]{_GAP}(")
    return _MENTION.sub(f"@{_GAP}", text)


def _plain(text: str) -> str:
    shown = "".join(" " if char.isspace() else char for char in text[:_LONGEST] if _is_visible(char))
    return shown if len(text) <= _LONGEST else shown + "…"


def _is_visible(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")
