"""Reads server-sent events: an HTTP answer without end, its lines, the messages in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import requests

__all__ = ["STALE_SECONDS", "Message", "lines_of", "messages", "open_stream"]

#: Silence after which a stream counts as lost: three heartbeats.
STALE_SECONDS = 45.0
_CONNECT_SECONDS = 5.0
_CHUNK_BYTES = 65_536


class Message(NamedTuple):
    """One server-sent event; `event` is empty for a heartbeat, `id` where it has none."""

    event: str
    id: str
    data: Any


def messages(lines: Iterator[bytes]) -> Iterator[Message]:
    """The messages in the lines of a stream. An incomplete one is left out."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.rstrip(b"\r").decode().partition(": ")
        if name:
            fields[name] = value
        elif line.strip():
            fields["comment"] = value
        elif fields:
            data = json.loads(fields["data"]) if "data" in fields else None
            yield Message(fields.get("event", ""), fields.get("id", ""), data)
            fields = {}


def lines_of(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines in the chunks, which may end anywhere."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def open_stream(
    url: str, headers: Mapping[str, str], *, failed: Callable[[Exception], Exception], silent: Exception
) -> tuple[requests.Response, Iterator[bytes], Callable[[], None]]:
    """The answer, its body as it comes, and what closes it. Each read has a time-out of its own: a stream has no end.

    Raises `requests.RequestException`; reading raises `silent` after `STALE_SECONDS`, otherwise what `failed` makes.
    """
    import requests  # noqa: PLC0415 - commands beside the server need no HTTP
    from urllib3.exceptions import HTTPError, ReadTimeoutError  # noqa: PLC0415

    session = requests.Session()
    session.trust_env = False
    timeouts = (_CONNECT_SECONDS, STALE_SECONDS)
    answer = session.get(url, headers=dict(headers), stream=True, timeout=timeouts, allow_redirects=False)

    def chunks() -> Iterator[bytes]:
        try:
            while chunk := answer.raw.read1(_CHUNK_BYTES):
                yield chunk
        except (HTTPError, OSError) as error:
            raise silent if isinstance(error, ReadTimeoutError) else failed(error) from error

    def close() -> None:
        answer.close()
        session.close()

    return answer, chunks(), close
