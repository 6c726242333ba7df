"""Parses an HTTP/1.1 answer from its bytes as they come. No socket, no clock.

Strict about where an answer ends, because what follows would be read as the next one; tolerant about the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException

__all__ = ["Answer", "AnswerReader"]

#: Limits of one head (status line and headers) and of the trailers after chunks.
_HEAD_BYTES, _HEADERS = 65_536, 100
_STATUS_LINE = re.compile(rb"HTTP/1\.(\d) ([1-9]\d\d)(?: .*)?", re.DOTALL)
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
#: `_left` of a body that ends with the connection.
_UNTIL_CLOSE = -1


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers with lower-case names, the first bytes of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class AnswerReader:
    """Reads one answer; interim answers (1xx) are skipped. `limit`: bytes of the body after which it is complete."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._body = bytearray()
        self._status = 0
        self._headers: dict[str, str] = {}
        self._left = 0
        self._chunked = self._in_trailers = False
        #: Whether any byte has come.
        self.started = False
        #: Whether the connection can be used for another request, once the answer is complete.
        self.reusable = False

    def feed(self, data: bytes) -> bool:
        """Take received bytes; True once the answer is complete. Raises `HTTPException` for what is not an answer."""
        self.started = True
        self._buffer += data
        if not self._status and not self._read_head():
            return False
        whole = self._read_chunks() if self._chunked else self._read_body()
        complete = whole or len(self._body) >= self._limit
        if complete:
            # The rest of a longer body, or unrequested bytes, would be read as the next answer.
            self.reusable = self.reusable and whole and not self._buffer
        return complete

    def end(self) -> None:
        """The peer closed the connection. Raises `ConnectionError` or `HTTPException` unless that completes it."""
        if not self.started:
            raise ConnectionResetError("the receiver closed the connection without an answer")
        if not self._status or self._left != _UNTIL_CLOSE:
            raise HTTPException("the receiver closed the connection in the middle of its answer")

    def answer(self) -> Answer:
        """The answer; call it once it is complete."""
        return Answer(self._status, self._headers, bytes(self._body[: self._limit]))

    def _read_head(self) -> bool:
        while True:
            end = _END_OF_HEAD.search(self._buffer)
            if end is None or end.start() > _HEAD_BYTES:
                if len(self._buffer) > _HEAD_BYTES:
                    raise HTTPException(f"the head of the answer is longer than {_HEAD_BYTES} bytes")
                return False
            lines = [line.removesuffix(b"\r") for line in bytes(self._buffer[: end.start()]).split(b"\n")]
            del self._buffer[: end.end()]
            match = _STATUS_LINE.fullmatch(lines[0])
            if match is None:
                raise HTTPException("the answer does not begin with an HTTP/1 status line")
            status = int(match[2])
            if status == HTTPStatus.SWITCHING_PROTOCOLS:
                raise HTTPException("the receiver switches to another protocol, which was not requested")
            if status >= HTTPStatus.OK:
                self._status = status
                self._headers = _headers(lines[1:])
                self._frame(match[1] != b"0")
                return True

    def _frame(self, persistent: bool) -> None:
        """Decide where the body ends."""
        coding, length = self._headers.get("transfer-encoding"), self._headers.get("content-length")
        if self._status in _WITHOUT_BODY:
            self._left = 0
        elif coding is not None:
            self._chunked = coding.lower() == "chunked"
            self._left = 0 if self._chunked else _UNTIL_CLOSE
        else:
            # Equal repeated values count as one (RFC 9110, 8.6); anything else does not determine the end.
            same = {part.strip() for part in (length or "").split(",")}
            text = same.pop() if len(same) == 1 else ""
            self._left = int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else _UNTIL_CLOSE
        closes = "close" in self._headers.get("connection", "").lower()
        ambiguous = coding is not None and length is not None
        self.reusable = persistent and not closes and not ambiguous and self._left != _UNTIL_CLOSE

    def _read_body(self) -> bool:
        if self._left == _UNTIL_CLOSE:
            self._body += self._buffer
            self._buffer.clear()
            return False
        self._take()
        return self._left == 0

    def _take(self) -> None:
        """Move what belongs to the body, or to the current chunk, out of the buffer."""
        taken = self._buffer[: self._left]
        del self._buffer[: len(taken)]
        self._left -= len(taken)
        self._body += taken[: max(0, self._limit - len(self._body))] if self._chunked else taken

    def _read_chunks(self) -> bool:
        while True:
            if self._left:
                self._take()
                if self._left or len(self._body) >= self._limit:
                    return False
            line_end = self._buffer.find(b"\n")
            if line_end < 0 or line_end > _HEAD_BYTES:
                if len(self._buffer) > _HEAD_BYTES:
                    raise HTTPException("a line between the chunks of the answer is too long")
                return False
            line = bytes(self._buffer[:line_end]).removesuffix(b"\r")
            del self._buffer[: line_end + 1]
            if self._in_trailers:
                if not line:
                    return True
                continue
            if not line and self._body:
                # The end of the chunk before.
                continue
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise HTTPException("a chunk of the answer has no size")
            self._left = int(size[1], 16)
            self._in_trailers = self._left == 0


def _headers(lines: list[bytes]) -> dict[str, str]:
    """Names in lower case; repeated ones are joined with a comma. Lines that are not headers are left out."""
    if len(lines) > _HEADERS:
        raise HTTPException(f"the answer has more than {_HEADERS} headers")
    headers: dict[str, str] = {}
    last = ""
    for line in lines:
        text = line.decode("latin-1")
        if text[:1] in (" ", "\t") and last:
            headers[last] += " " + text.strip()
            continue
        name, colon, value = text.partition(":")
        last = name.strip().lower() if colon else ""
        if last:
            headers[last] = f"{headers[last]}, {value.strip()}" if last in headers else value.strip()
    return headers
