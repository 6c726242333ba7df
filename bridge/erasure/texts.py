"""Finds a person's values in foreign bytes, whatever their encoding. Pure."""

from __future__ import annotations

import base64
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

__all__ = ["SHORTEST", "core_of", "fold", "holds", "may_hold", "named_values", "readings"]

#: Ids with fewer characters are not searched in plain text: they would be found everywhere.
SHORTEST = 5
#: How deep encodings may be nested, such as JSON in a form.
_DEPTH = 3
#: Most levels of a document that are searched; deeper ones are searched only as text.
_DEEPEST = 32
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_BASE64_BYTES = re.compile(_BASE64.pattern.encode())
_UUID = 36
_PLAIN = re.compile(r"[A-Za-z0-9]{3,}")
_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\"\\/]))")
#: Members whose values may be the id of a person.
_PERSONAL = re.compile(r"user|candidate|custom|person|participant|learner|student|member|examinee|mail", re.IGNORECASE)


def fold(text: str) -> str:
    """The form in which e-mail addresses and names are compared: NFC, without letter case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).casefold())


def holds(text: str, values: Iterable[str]) -> bool:
    """Whether one of the values is in the text as a word, not as part of a longer one."""
    return any(value in text and _bounded(value).search(text) for value in values)


def core_of(value: str) -> bytes:
    """The longest part of a value that no usual encoding changes, in lower case; empty: there is none."""
    local = value.partition("@")[0]
    parts = _PLAIN.findall(local) or _PLAIN.findall(value)
    return max(parts, key=len, default="").lower().encode()


def may_hold(raw: bytes, cores: Iterable[bytes], *, foreign: bool = True) -> bool:
    """Whether one of the values may be in a body: a quick check that leaves few bodies to be read in full.

    `foreign`: others have written it, so there may be base64 in it.
    """
    low = raw.lower()
    if b"\x00" in low:
        low = low.replace(b"\x00", b"")
    if any(core in low for core in cores):
        return True
    for run in _BASE64_BYTES.findall(raw) if foreign else ():
        # Most of what looks like base64 is a UUID.
        if len(run) != _UUID and (decoded := _from_base64(run.decode())) is not None:
            lowered = decoded.lower().encode()
            if any(core in lowered for core in cores):
                return True
    return False


def readings(raw: bytes) -> Iterator[str]:
    """The text of a body, and its text without JSON escapes, percent encoding, entities and base64."""
    texts = [raw.decode(errors="replace")]
    if "\N{REPLACEMENT CHARACTER}" in texts[0]:
        texts.append(raw.decode("latin-1"))
    if b"\x00" in raw:
        texts += [raw.decode(name, errors="replace") for name in ("utf-16-le", "utf-16-be")]
    texts += [" \n".join(value for _, value in _form(text)) for text in texts[:1] if "=" in text]
    for text in texts:
        for plain in _unescaped(text):
            yield plain
            for match in _BASE64.finditer(plain):
                decoded = _from_base64(match[0])
                if decoded is not None:
                    yield from _unescaped(decoded)


def named_values(raw: bytes) -> Iterator[str] | None:
    """The values in a JSON document or a form that may be the id of a person, by the names around them.

    None: the body is neither.
    """
    text = raw.decode(errors="replace").lstrip("\N{ZERO WIDTH NO-BREAK SPACE}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        pairs = _form(text)
        return (value for name, value in pairs if _PERSONAL.search(name)) if pairs else None
    if not isinstance(document, (dict, list)):
        return None
    return _named(document, False, 0)


def _named(value: Any, personal: bool, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _named(member, personal or bool(_PERSONAL.search(name)), depth + 1)
    elif isinstance(value, list):
        for member in value:
            yield from _named(member, personal, depth + 1)
    elif personal and isinstance(value, (str, int)) and not isinstance(value, bool):
        yield str(value).strip()


def _form(text: str) -> list[tuple[str, str]]:
    """The members of a form, in which a plus sign is a space; empty for anything else."""
    return parse_qsl(text, keep_blank_values=True) if "=" in text and "<" not in text else []


def _unescaped(text: str) -> Iterator[str]:
    """The text, then with one encoding after the other undone."""
    yield text
    for _ in range(_DEPTH):
        before = text
        if "\\" in text:
            text = _JSON_ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text)
        if "%" in text:
            text = unquote(text, errors="replace")
        if "&" in text:
            text = html.unescape(text)
        if text == before:
            return
        yield text


def _from_base64(text: str) -> str | None:
    try:
        raw = base64.b64decode(
            text.rstrip("=").translate(_URL_SAFE) + "=" * (-len(text.rstrip("=")) % 4), validate=True
        )
    except ValueError:
        return None
    return raw.decode(errors="replace")


_URL_SAFE = str.maketrans("-_", "+/")


def _bounded(value: str) -> re.Pattern[str]:
    """The value without a letter, digit or hyphen next to it; before an address also no dot or plus sign."""
    before = r"[\w.+-]" if "@" in value else r"[\w-]"
    return re.compile(rf"(?<!{before}){re.escape(value)}(?![\w-])(?!\.\w+@)")
