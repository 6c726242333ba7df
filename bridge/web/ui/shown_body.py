"""A body as a page shows it: as text if it is text, otherwise in hex; never more than a bounded part. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_BINARY", "MAX_TEXT", "ShownBody", "shown_body"]

#: Most bytes that are shown of a text, and of anything else.
MAX_TEXT, MAX_BINARY = 32_768, 4096
_LINE = 16
#: Longest character of UTF-8, in bytes.
_LONGEST = 4


@dataclass(frozen=True, slots=True)
class ShownBody:
    """The part that is shown."""

    text: str
    #: Hex, with the place of each line and its ASCII characters.
    is_hex: bool
    #: Bytes shown of how many.
    shown: int
    size: int

    @property
    def is_cut(self) -> bool:
        """Whether not all of it is shown."""
        return self.shown < self.size


def shown_body(raw: bytes) -> ShownBody:
    """What a page shows of these bytes."""
    beginning = raw[:MAX_TEXT]
    text = _text(beginning, is_cut=len(raw) > len(beginning))
    if text is not None:
        return ShownBody(text, False, len(beginning), len(raw))
    beginning = raw[:MAX_BINARY]
    lines = [_hex_line(at, beginning[at : at + _LINE]) for at in range(0, len(beginning), _LINE)]
    return ShownBody("\n".join(lines), True, len(beginning), len(raw))


def _text(raw: bytes, *, is_cut: bool) -> str | None:
    """The text, None for bytes that are not text. `is_cut`: the last character may be incomplete."""
    for missing in range(_LONGEST if is_cut else 1):
        try:
            text = raw[: len(raw) - missing].decode()
        except UnicodeDecodeError:
            continue
        return text if all(character.isprintable() or character in "\t\r\n" for character in text) else None
    return None


def _hex_line(at: int, part: bytes) -> str:
    characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
    return f"{at:08x}  {part.hex(' '):<{3 * _LINE - 1}}  {characters}"
