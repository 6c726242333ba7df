"""HTTP calls to a vendor within the source's budget. The vendor's client interprets the answers."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from urllib.parse import urlsplit

import requests
import urllib3

from bridge import __version__, clock
from bridge.config.model import Source
from bridge.errors import Unreadable, VendorFault, VendorThrottled, VendorUnavailable
from bridge.net.charset import to_utf8
from bridge.net.retry_after import retry_after_seconds
from bridge.net.timed_session import timed_session
from bridge.polling.vendor_memory import LocalMemory
from bridge.quota.budgets import Budgets
from bridge.sdk.vendor import Memory
from bridge.telemetry import tracing

__all__ = [
    "DEFAULT_PAUSE",
    "LONGEST_PAUSE",
    "Calls",
    "rate_limit",
    "retry_after",
    "throttled_until",
    "unavailable_until",
    "vendor_session",
]

#: Total time of one call, seconds: look-up, connect, TLS, headers, body, trailers.
TOTAL_SECONDS = 20.0
#: Largest answer, bytes; the largest page seen (200 results with their sections) is below 1 MB.
MAX_BODY = 8 * 1024 * 1024
_CHUNK = 64 * 1024
#: Longest pause that a vendor can ask for, seconds: a day's quota and a little.
LONGEST_PAUSE = 25 * 3600.0
#: Shortest pause after "too many calls", seconds: a shorter one would be used up before the next call anyway.
_SHORTEST_PAUSE = 5.0
#: Pause when a vendor refuses a call and does not say, or not legibly, when to come back, seconds.
DEFAULT_PAUSE = 60.0
#: `x-ratelimit-remaining` and its kin are customs, not standards; the drafts add parameters (`100;w=60`).
_LIMIT_PREFIXES = ("x-ratelimit-", "ratelimit-")
_LIMIT_NUMBER = re.compile(r"\s*(\d{1,12})(?:\.\d+)?\s*(?:[,;].*)?", re.ASCII)


def vendor_session() -> requests.Session:
    """A session for calls to one vendor: keeps connections, ignores the environment's proxies and netrc."""
    # urllib3 logs whole URLs at debug level, and some vendors take the key in the query.
    library = logging.getLogger("urllib3")
    library.setLevel(max(library.level, logging.INFO))
    session = timed_session()
    session.headers["User-Agent"] = f"attempt-bridge/{__version__}"
    return session


class Calls:
    """`bridge.sdk.vendor.VendorCalls` over HTTP, for one source.

    `made`: number of calls that cost budget. `before` runs before every call and may raise to prevent it.
    `spender` (`bridge.quota.windows.SPENDERS`) may be changed between calls. `seconds`: total time of one call. Without
    `memory` only this process remembers. `polled`: whether the source is polled, so that a share of the budget is left
    for the poll.
    """

    def __init__(
        self,
        source: Source,
        budgets: Budgets,
        session: requests.Session,
        now: Callable[[], float],
        *,
        spender: str,
        before: Callable[[], None] = lambda: None,
        seconds: float = TOTAL_SECONDS,
        memory: Memory | None = None,
        polled: bool = True,
    ) -> None:
        self.memory: Memory = LocalMemory() if memory is None else memory
        self._source = source
        self._budgets = budgets
        self._session = session
        self._before = before
        self._seconds = seconds
        self._polled = polled
        #: Within `reading`: call -> how often it was made.
        self._repeats: Counter[object] | None = None
        self.now = now
        self.spender = spender
        self.made = 0

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        free: bool = False,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers (lower-case names) and body of one call, text in UTF-8.

        The limit that the answer's headers state applies to all processes from then on.

        Raises, before the call, `BudgetExhausted` or, while the source is paused, `VendorThrottled` or `VendorRefused`;
        `VendorUnavailable` without a complete answer, on 5xx, on a redirect, for an unknown character set;
        `VendorThrottled` on 429.
        """
        self._check_progress(method, url, params, body)
        self._pay(free)
        called = {"http.request.method": method, "server.address": urlsplit(url).hostname or ""}
        with tracing.start(method, tracing.CLIENT, {**called, "attempt_bridge.source": self._source.name}) as span:
            status, answer_headers, content = self._exchange(method, url, params, headers, body)
            span.set({"http.response.status_code": status})
            if status >= requests.codes.bad_request:
                span.fail(str(status))
        if not free:
            self._record_limit(answer_headers)
        where = self._where(method, url)
        if status == requests.codes.too_many_requests:
            now = self.now()
            raise VendorThrottled(f"{where}: HTTP 429", retry_at=throttled_until(answer_headers, now))
        if status >= requests.codes.server_error:
            raise VendorUnavailable(f"{where}: HTTP {status}", retry_at=unavailable_until(answer_headers, self.now()))
        if 300 <= status < 400:
            raise VendorUnavailable(
                f"{where}: HTTP {status}; redirects are not followed, because the request has credentials. "
                f"Check sources.{self._source.name}.base_url",
                reason="redirect",
            )
        try:
            return status, answer_headers, to_utf8(content, answer_headers.get("content-type", ""))
        except Unreadable as error:
            raise VendorUnavailable(f"{where}: {error}", reason=error.reason) from error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within it, the third identical call raises `VendorFault`: page tokens that go in a circle would never end."""
        self._repeats = Counter()
        try:
            yield
        finally:
            self._repeats = None

    def _check_progress(self, method: str, url: str, params: Sequence[tuple[str, str]], body: bytes | None) -> None:
        if self._repeats is None:
            return
        call = (method, url, tuple(params), body)
        # One repetition is allowed: some clients retry once.
        if self._repeats[call] > 1:
            raise VendorFault(
                f"{self._where(method, url)}: the vendor's pages go in a circle. If it happens again, report it to the "
                "vendor",
                reason="page_loop",
            )
        self._repeats[call] += 1

    def _pay(self, free: bool) -> None:
        self._before()
        source = self._source
        if free:
            self._budgets.check(source.name, self.now())
            return
        self._budgets.take(source.name, source.budget, self.now(), spender=self.spender, polled=self._polled)
        self.made += 1

    def _record_limit(self, headers: Mapping[str, str]) -> None:
        now = self.now()
        stated = rate_limit(headers, now)
        if stated is not None:
            remaining, limit, resets_at = stated
            self._budgets.record_vendor_limit(self._source.name, remaining, resets_at, now, limit=limit)

    def _exchange(
        self,
        method: str,
        url: str,
        params: Sequence[tuple[str, str]],
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        latest = clock.monotonic() + self._seconds
        try:
            with self._session.request(
                method,
                url,
                params=list(params),
                headers=headers,
                data=body,
                timeout=self._seconds,
                allow_redirects=False,
                stream=True,
            ) as answer:
                content, problem = _read(answer)
                status, names = answer.status_code, {name.lower(): value for name, value in answer.headers.items()}
        except (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            # The libraries' own errors, and what they let through: a negative chunk size is a ValueError.
            late = clock.monotonic() >= latest
            problem = f"no complete answer within {self._seconds:g} s" if late else type(error).__name__
        if problem:
            # Outside the handler: the library's error has the whole URL, which may contain a key, and would be chained
            # as context.
            raise VendorUnavailable(f"{self._where(method, url)}: {problem}; the next round retries")
        return status, names, content

    def _where(self, method: str, url: str) -> str:
        parts = urlsplit(url)
        # Some vendors have a candidate's e-mail address in the path.
        path = re.sub(r"[^/]*(?:@|%40)[^/]*", "…", parts.path)
        return f"source {self._source.name}: {method} {parts.hostname}{path}"


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The moment that `retry-after` means, UNIX seconds, at most a day ahead; None without one that can be read."""
    wait = retry_after_seconds(headers.get("retry-after", ""), now=now)
    return None if wait is None else now + min(wait, LONGEST_PAUSE)


def throttled_until(headers: Mapping[str, str], now: float) -> float | None:
    """Until when a 429 holds, UNIX seconds, by its headers; None where they state no pause."""
    asked = retry_after(headers, now)
    if asked is None or asked <= now:
        # A pause that ends now contradicts the refusal: a zero, or a date by a clock that is behind ours.
        asked = _reset(headers, now)
    return None if asked is None else max(asked, now + _SHORTEST_PAUSE)


def unavailable_until(headers: Mapping[str, str], now: float) -> float | None:
    """Until when a 5xx holds, UNIX seconds; None where the vendor names no later moment: the next round tries again."""
    asked = retry_after(headers, now)
    if asked is None:
        return now + DEFAULT_PAUSE if headers.get("retry-after", "").strip() else None
    return asked if asked > now else None


def rate_limit(headers: Mapping[str, str], now: float) -> tuple[int, int | None, float] | None:
    """Calls remaining, the limit if stated, and the reset (UNIX seconds); None if the headers do not have them."""
    remaining, resets_at = _limit_number(headers, "remaining"), _reset(headers, now)
    if remaining is None or resets_at is None:
        return None
    return remaining, _limit_number(headers, "limit"), resets_at


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    """When the vendor's window resets; vendors state UNIX seconds or seconds from now, at most a day."""
    number = _limit_number(headers, "reset")
    if number is None:
        return None
    moment = now + number if number <= LONGEST_PAUSE else float(number)
    return moment if now < moment <= now + LONGEST_PAUSE else None


def _limit_number(headers: Mapping[str, str], name: str) -> int | None:
    texts = (headers[prefix + name] for prefix in _LIMIT_PREFIXES if prefix + name in headers)
    matches = (_LIMIT_NUMBER.fullmatch(text) for text in texts)
    return next((int(match[1]) for match in matches if match), None)


def _read(answer: requests.Response) -> tuple[bytes, str]:
    """The body, and the problem with it, if any."""
    content = bytearray()
    # `read1` returns what has arrived; `iter_content` would wait for a whole chunk of a slow answer.
    while chunk := answer.raw.read1(_CHUNK, decode_content=True):
        content += chunk
        if len(content) > MAX_BODY:
            return b"", f"answer is larger than {MAX_BODY} bytes"
    return bytes(content), ""
