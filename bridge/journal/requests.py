"""Stored requests: lists and finds them, and stores refused ones. The journal stores accepted ones."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import redis

from bridge.journal.entries import StoredRequest
from bridge.journal.paging import id_order, read_stream
from bridge.journal.search import Place, search, walk_back
from bridge.state import keys
from bridge.state.counts import add_counts
from bridge.state.errors import state_errors
from bridge.state.stored_json import UnreadableRecord, json_object, log_unreadable

__all__ = ["RequestStore"]

#: Anybody can send a request that is refused, so their number and the bytes stored of each are limited: of the body,
#: and of body and headers together.
MAX_REJECTED = 1000
REJECTED_BODY_BYTES = 4096
REJECTED_BYTES = 8192
_PAGE = 200
_ID = re.compile(r"[0-9a-f-]{4,36}", re.ASCII)
#: Digits of an id that hold the time, milliseconds.
_TIME_DIGITS = 12
#: Seconds by which the clocks of web server and state server may differ: the nearest entries are read first.
_MARGINS = (0.1, 2.0, 60.0, 600.0)
#: Seconds before and after an event within which its request is stored: in the same step, or in that of the last
#: partition that it has records of. And how many entries of that time are read.
_BESIDE = (-0.05, 0.5)
_BESIDE_ENTRIES = 300


class RequestStore:
    """Stored requests, both accepted and refused."""

    def __init__(self, client: redis.Redis, *, partitions: int = 1) -> None:
        self.client = client
        self.partitions = partitions

    def reject(
        self,
        *,
        request_id: str,
        source: str,
        received_at: float,
        reason: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """Store a request that was refused with 401, its body cut to 4096 bytes. Raises `StateUnavailable`.

        Headers that would make it larger than `REJECTED_BYTES` are left out.
        """
        kept = json.dumps(dict(headers), separators=(",", ":"))
        if len(kept) > REJECTED_BYTES - REJECTED_BODY_BYTES:
            kept = "{}"
        fields: dict[str, str | bytes] = {
            "id": request_id,
            "source": source,
            "at": f"{received_at:.3f}",
            "outcome": "rejected",
            "reason": reason,
            "headers": kept,
            "body": body[:REJECTED_BODY_BYTES],
            "attempts": "",
        }
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            pipe.xadd(keys.rejected(0), fields, maxlen=MAX_REJECTED, approximate=True)  # type: ignore[arg-type]
            add_counts(pipe, keys.counts, 0, received_at, {f"{source}|webhook|rejected": 1})
            pipe.execute()

    def list(
        self,
        *,
        source: str | None = None,
        outcome: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Iterator[StoredRequest]:
        """Requests received in [since, until] (UNIX seconds), newest first; each is read when it is needed.

        A request that was stored twice, because the state server's answer was lost, is listed once.
        """
        first = "-" if since is None else str(int(since * 1000))
        last = "+" if until is None else str(int(until * 1000))
        streams = [self._walk(keys.requests(number), number, first, last) for number in range(self.partitions)]
        streams.append(self._walk(keys.rejected(0), 0, first, last))
        listed: set[str] = set()
        for _, request in heapq.merge(*streams, key=lambda item: item[0], reverse=True):
            if (source is None or request.source == source) and (outcome is None or request.outcome == outcome):
                if request.id not in listed:
                    yield request
                listed.add(request.id)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of requests; those that were refused are the last one."""
        return (*(keys.requests(number) for number in range(self.partitions)), keys.rejected(0))

    def newest_first(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        after: Place | None = None,
        first: int = _PAGE,
    ) -> Iterator[tuple[Place, int, StoredRequest]]:
        """(place, bytes, request) received in [since, until], as `walk_back` reads them; for `search`."""

        def read(_: bytes, fields: dict[bytes, bytes], stream: int) -> StoredRequest:
            return _stored(fields, stream % self.partitions)

        return walk_back(self.client, self.streams, read, since=since, until=until, after=after, first=first)

    def look_up(self, beginning: str) -> Sequence[StoredRequest]:
        """Requests whose id begins with a text of at least four characters: the first two that are found, newest first.

        An id holds the time of receipt by the web server's clock, so the entries around it are read first, then the
        newest ones: a clock may have been wrong. Each read ends at the bound of a search. Raises `StateUnavailable`.
        """
        if not _ID.fullmatch(beginning):
            return ()
        digits = beginning.replace("-", "")[:_TIME_DIGITS]
        low, high = (int(digits.ljust(_TIME_DIGITS, filler), 16) / 1000 for filler in "0f")
        periods = [(max(0.0, low - margin), high + margin) for margin in _MARGINS]
        for since, until in [*periods, (None, None)]:
            near = self.newest_first(since=since, until=until, first=_PAGE)
            page = search(near, lambda request: request.id.startswith(beginning), 2)
            if page.rows:
                return page.rows
        return ()

    def of_attempt(self, source: str, attempt: str, moments: Sequence[float]) -> Sequence[StoredRequest]:
        """The requests that have an attempt and were stored when its events were, oldest first.

        `moments`: when the events were stored, UNIX seconds by the state server's clock. Of each, a bounded number of
        entries is read. Raises `StateUnavailable`.
        """
        requests: dict[tuple[str, float], StoredRequest] = {}
        for moment in moments:
            since, until = (moment + margin for margin in _BESIDE)
            steps = self.newest_first(since=since, until=until, first=_BESIDE_ENTRIES)
            near = search(
                steps,
                lambda request: request.source == source and attempt in request.attempts,
                _BESIDE_ENTRIES,
                max_entries=_BESIDE_ENTRIES,
            )
            requests |= {(request.id, request.received_at): request for request in near.rows}
        return sorted(requests.values(), key=lambda request: request.received_at)

    def find(self, request_id: str) -> StoredRequest | None:
        """The request with this id, or None. Raises `StateUnavailable`."""
        try:
            received = (UUID(request_id).int >> 80) / 1000
        except ValueError:
            return None
        # The id holds the time of receipt, by the web server's clock.
        near = self.list(since=max(received - 60, 0), until=received + 600)
        match = next((request for request in near if request.id == request_id), None)
        # The clocks of web server and state server may differ by more than that.
        return match or next((request for request in self.list() if request.id == request_id), None)

    def _walk(
        self, stream: str, partition: int, first: str, last: str
    ) -> Iterator[tuple[tuple[int, int], StoredRequest]]:
        for entry_id, fields in read_stream(self.client, stream, first, last, page=_PAGE):
            yield id_order(entry_id), _stored(fields, partition)


def _stored(fields: dict[bytes, bytes], partition: int) -> StoredRequest:
    attempts = fields[b"attempts"].decode()
    return StoredRequest(
        id=fields[b"id"].decode(),
        source=fields[b"source"].decode(),
        received_at=float(fields[b"at"]),
        outcome=fields[b"outcome"].decode(),
        reason=fields[b"reason"].decode(),
        headers=_headers(fields.get(b"headers", b"{}"), partition),
        body=fields[b"body"],
        attempts=tuple(attempts.split("\n")) if attempts else (),
        partition=partition,
        secret=int(fields.get(b"secret") or 0) or None,
    )


def _headers(text: bytes, partition: int) -> dict[str, str]:
    """The stored headers; empty where they cannot be read, because the body matters more."""
    try:
        return {name: str(value) for name, value in json_object(text).items()}
    except UnreadableRecord as error:
        log_unreadable(f"{keys.requests(partition)} headers", str(error))
        return {}
