"""Transport `http`: a POST of each event, signed as in Standard Webhooks 1.0."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from bridge import clock
from bridge.config.addresses import without_password
from bridge.config.model import Subscription
from bridge.errors import ConfigError, DeliveryFailed
from bridge.net.address_policy import check_url
from bridge.net.push_client import Answer, Client
from bridge.net.push_loop import PushLoop
from bridge.net.retry_after import retry_after_seconds
from bridge.net.standard_webhooks import Signer
from workers.transports.contract import (
    ANSWER_KEPT_BYTES,
    REPLAY_HEADER,
    TRACE_HEADER,
    Outcome,
    Outgoing,
    ShownRequest,
    Try,
    sending_time,
)
from workers.transports.faults import unexpected_failure

__all__ = ["HttpPush", "Waiting", "answer_outcome"]

#: (number, event, UNIX seconds, moment of the monotonic clock) of an event that waits its turn.
Waiting = tuple[int, Outgoing, float, float]

#: The 4xx statuses that are about the receiver and not about the event.
_RECEIVER_BUSY = (408, 425, 429)
#: Headers that are shown; any other may hold a secret of the receiver.
_SHOWN = frozenset(
    {
        "content-type",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "x-experience-api-version",
        REPLAY_HEADER,
        TRACE_HEADER,
    }
)
#: Results are handed over together: after this many seconds, or when half of the window has answered.
_GATHER_SECONDS = 0.005


class HttpPush:
    """Sends `concurrency` events at once: `start` them, and get those that were answered with `results`.

    Further ones wait their turn, so that the receiver has work while the caller settles. A failure of the receiver
    keeps them waiting until the caller has seen it and starts or withdraws events. Every try ends within the deadline
    of `Client`. For use by one thread, besides that of the loop.
    """

    #: Most requests under way, and most events in one; None: as many requests as events may be under way.
    most_requests: int | None = None
    most_events = 1

    def __init__(self, subscription: Subscription, loop: PushLoop | None = None) -> None:
        """`loop`: one that several transports share; without it this one has its own."""
        url = self._url = subscription.url or ""
        problem = check_url(url, allow_private=subscription.allow_private)
        if problem is not None:
            raise ConfigError(f"subscriptions.{subscription.name}.url: {problem}")
        self.concurrency = self.batch = subscription.concurrency
        self._format = subscription.output
        # A receiver of other formats may rely on authorisation alone; CloudEvents are never sent unsigned.
        signs = subscription.secrets or not self._format.converts
        self._signer = Signer(subscription.secrets) if signs else None
        # The operator's headers replace those of the format: an LRS may require another version.
        own = {name.lower() for name in subscription.own_headers}
        kept = {name: value for name, value in self._format.headers.items() if name not in own}
        self._own_headers = {**subscription.own_headers, **kept, "content-type": self._format.media_type}
        self._client = Client(url, allow_private=subscription.allow_private)
        self._own_loop = None if loop else PushLoop()
        self._loop = loop or self._own_loop or PushLoop()
        self._waiting: deque[Waiting] = deque()
        self._requests = self._sending = 0
        self._held_back = False
        self._finished: deque[tuple[int, Try]] = deque()
        self._ready = threading.Event()
        self._gathering = False

    def start(self, events: Sequence[tuple[int, Outgoing]], *, now: float) -> None:
        """Begin to send events, each under a number of the caller's."""
        at = clock.monotonic()
        self._waiting += [(number, event, now, at) for number, event in events]
        self._loop.call(self._resume)

    def withdraw(self) -> list[int]:
        """The numbers of events that still wait their turn: they will not be sent."""
        withdrawn = []
        # The loop takes events at the same time; each event goes to only one of the two.
        with suppress(IndexError):
            while True:
                withdrawn.append(self._waiting.popleft()[0])
        return withdrawn

    def results(self, timeout: float = 0.0) -> list[tuple[int, Try]]:
        """(number, try) of events that were answered or given up; waits up to `timeout` seconds for the first."""
        if timeout > 0:
            self._ready.wait(timeout)
        self._ready.clear()
        results = []
        while self._finished:
            results.append(self._finished.popleft())
        return results

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        """Send a batch; takes at most the deadline of the longest chain of events of one attempt, sent in order."""
        chains: dict[tuple[str, str], deque[int]] = {}
        for number, event in enumerate(events):
            chains.setdefault((event.source, event.attempt), deque()).append(number)
        began = clock.monotonic()
        tries: dict[int, Try] = {}
        self.start([(chain[0], events[chain[0]]) for chain in chains.values()], now=now)
        while len(tries) < len(events):
            for number, tried in self.results(1.0):
                tries[number] = tried
                chain = chains[events[number].source, events[number].attempt]
                chain.popleft()
                if chain:
                    self.start([(chain[0], events[chain[0]])], now=now + clock.monotonic() - began)
        return [tries[number] for number in range(len(events))]

    def shown(self, event: Outgoing, *, now: float) -> ShownRequest:
        """What a try that begins at `now` sends, with the signature of that try."""
        body = self._body([event], now)
        headers = self._headers(event.id, body, event.headers, now)
        shown = {name: value if name.lower() in _SHOWN else "****" for name, value in headers.items()}
        return ShownRequest(f"POST {without_password(self._url)}", shown, body)

    def close(self) -> None:
        self._loop.call_if_running(self._client.close)
        if self._own_loop is not None:
            self._own_loop.close()

    def _body(self, events: Sequence[Outgoing], now: float) -> bytes:
        return self._format.body([event.body for event in events], sending_time(now))

    def _headers(self, ident: str, body: bytes, more: Mapping[str, str], now: float) -> dict[str, str]:
        """The headers of a request. `ident`: id of the event, or of the events together; `more`: `Outgoing.headers`."""
        signed = {"webhook-id": ident} if self._signer is None else self._signer.headers(ident, body, now)
        return {**self._own_headers, **signed, **more}

    # --- in the thread of the loop

    def _resume(self) -> None:
        self._held_back = False
        while (self.most_requests is None or self._requests < self.most_requests) and (taken := self._take()):
            self._requests += 1
            self._loop.spawn(self._run(taken))

    def _take(self) -> list[Waiting]:
        """The events of the next request."""
        taken: list[Waiting] = []
        most = min(self.most_events, self.concurrency - self._sending)
        with suppress(IndexError):
            while len(taken) < most:
                taken.append(self._waiting.popleft())
        self._sending += len(taken)
        return taken

    async def _run(self, taken: list[Waiting]) -> None:
        """Send these events, then others that are waiting."""
        try:
            while taken:
                for (number, *_), tried in zip(taken, await self._send(taken), strict=True):
                    failed = tried.failure is not None and not tried.failure.about_event
                    self._held_back = self._held_back or failed
                    self._finish(number, tried)
                self._sending -= len(taken)
                taken = [] if self._held_back else self._take()
        finally:
            self._requests -= 1
            self._sending -= len(taken)

    async def _send(self, taken: Sequence[Waiting]) -> list[Try]:
        """One try for each of the events."""
        ((_, event, now, at),) = taken
        return [await self._post([event], event.id, now + clock.monotonic() - at)]

    async def _post(self, events: Sequence[Outgoing], ident: str, now: float) -> Try:
        """Send one request with events that belong to one replay, or to none. Raises nothing."""
        started = clock.monotonic()
        status, kept = None, b""
        try:
            body = self._body(events, now)
            # A request of several events is part of several traces.
            traced = events[0] if len(events) == 1 else replace(events[0], traceparent="")
            answer = await self._client.post(body, self._headers(ident, body, traced.headers, now))
            status, kept = answer.status, answer.body[:ANSWER_KEPT_BYTES]
            failure = answer_outcome(answer, now=now)
        except DeliveryFailed as failed:
            failure = failed
        except Exception as error:  # noqa: BLE001 - a receiver may answer anything; it concerns these events
            failure = unexpected_failure(error, event_id=ident)
        return Try(failure, now, clock.monotonic() - started, status, kept)

    def _finish(self, number: int, tried: Try) -> None:
        self._finished.append((number, tried))
        if len(self._finished) >= max(1, self.concurrency // 2):
            self._ready.set()
        elif not self._gathering:
            self._gathering = True
            self._loop.later(_GATHER_SECONDS, self._gathered)

    def _gathered(self) -> None:
        self._gathering = False
        self._ready.set()


def answer_outcome(answer: Answer, *, now: float) -> Outcome:
    """The outcome of an HTTP answer: 2xx is a success, 410 disables the subscription, anything else is retried.

    Any other 4xx refuses only this event.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    if status == 410:
        return DeliveryFailed(
            "receiver answered 410 Gone. Resume the subscription to continue", reason="gone", charged=False
        )
    if 300 <= status < 400:
        return DeliveryFailed(
            f"receiver answered {status}: redirects are not followed. Change `url`", reason="redirect"
        )
    reason = "receiver_error" if status >= 500 else "receiver_refused"
    retry_after = None
    if status in (429, 503):
        retry_after = retry_after_seconds(answer.headers.get("retry-after", ""), now=now)
        reason = "throttled" if status == 429 else reason
    about_event = 400 <= status < 500 and status not in _RECEIVER_BUSY
    return DeliveryFailed(
        f"receiver answered {status}", reason=reason, retry_after=retry_after, about_event=about_event
    )
