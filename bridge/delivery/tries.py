"""The tries of a delivery as they are stored: one line each, written by dispatch, shortened by outcomes.lua. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bridge.text import cleaned

__all__ = ["ANSWER_BYTES", "LoggedTry", "answer_text", "read_tries"]

#: Bytes of an answer that are kept.
ANSWER_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedTry:
    """One try of a delivery, as it ended."""

    #: When it began, UNIX seconds.
    at: float
    #: How long it took, seconds.
    seconds: float
    #: Status of the HTTP answer; None if there was none, or another transport.
    status: int | None
    #: Why it failed, a fixed word; empty for a success.
    reason: str = ""
    #: The error in one line; empty for a success.
    error: str = ""
    #: The beginning of the answer; empty if there was none, or if it was removed to keep the tries short.
    answer: str = ""

    def to_line(self) -> str:
        """JSON without the answer, and the answer's JSON after a tab: outcomes.lua can remove it."""
        line = _json([round(self.at, 3), round(self.seconds, 3), self.status, self.reason, self.error])
        return f"{line}\t{_json(self.answer)}" if self.answer else line


def answer_text(answer: bytes, limit: int = ANSWER_BYTES) -> str:
    """The first `limit` bytes of an answer as text without control characters, at most that long in UTF-8."""
    text = "".join(letter if letter.isprintable() else " " for letter in answer[:limit].decode(errors="replace"))
    return cleaned(text).encode()[:limit].decode(errors="ignore").strip()


def read_tries(log: bytes | str) -> tuple[LoggedTry, ...]:
    """The tries of a stored log, oldest first; lines that cannot be read are left out."""
    text = log.decode(errors="replace") if isinstance(log, bytes) else log
    return tuple(_tries(text))


def _tries(text: str) -> Iterator[LoggedTry]:
    for line in text.split("\n"):
        members, _, answer = line.partition("\t")
        try:
            at, seconds, status, reason, error = json.loads(members)[:5]
            yield LoggedTry(
                at=float(at),
                seconds=float(seconds),
                status=None if status is None else int(status),
                reason=str(reason),
                error=str(error),
                answer=str(json.loads(answer)) if answer else "",
            )
        except (ValueError, TypeError):
            continue


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
