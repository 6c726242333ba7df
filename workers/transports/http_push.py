"""Transport `http`: a POST of the CloudEvent, signed as in Standard Webhooks 1.0."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from bridge import clock
from bridge.config.addresses import without_password
from bridge.config.model import Subscription
from bridge.errors import ConfigError, DeliveryFailed
from bridge.net.address_policy import check_url
from bridge.net.push_client import Answer, Client
from bridge.net.push_loop import PushLoop
from bridge.net.retry_after import retry_after_seconds
from bridge.net.standard_webhooks import Signer
from schemas.event import MEDIA_TYPE
from workers.transports.contract import (
    ANSWER_KEPT_BYTES,
    REPLAY_HEADER,
    TRACE_HEADER,
    Outcome,
    Outgoing,
    ShownRequest,
    Try,
)
from workers.transports.faults import unexpected_failure

__all__ = ["HttpPush", "answer_outcome"]

#: Of 4xx, those that concern the receiver and not the one event.
_RECEIVER_BUSY = (408, 425, 429)
#: Headers that are shown; any other may be a secret of the receiver's.
_SHOWN = frozenset(
    {"content-type", "webhook-id", "webhook-timestamp", "webhook-signature", REPLAY_HEADER, TRACE_HEADER}
)
#: Results are handed over together: after this many seconds, or when half of the window has answered.
_GATHER_SECONDS = 0.005


class HttpPush:
    """Sends `concurrency` events at once: `start` them, and take what has been answered with `results`.

    Further ones wait their turn, so that the receiver has work while the caller settles. A failure of the receiver
    keeps them waiting until the caller has seen it and starts or withdraws events. Every try ends within the deadline
    of `Client`. For one thread, beside that of the loop.
    """

    def __init__(self, subscription: Subscription, loop: PushLoop | None = None) -> None:
        """`loop`: one that several transports share; without it this one has a loop of its own."""
        url = self._url = subscription.url or ""
        problem = check_url(url, allow_private=subscription.allow_private)
        if problem is not None:
            raise ConfigError(f"subscriptions.{subscription.name}.url: {problem}")
        self.concurrency = self.batch = subscription.concurrency
        self._signer = Signer(subscription.secrets)
        self._own_headers = subscription.own_headers
        self._client = Client(url, allow_private=subscription.allow_private)
        self._own_loop = None if loop else PushLoop()
        self._loop = loop or self._own_loop or PushLoop()
        #: (number, event, UNIX seconds, moment of the monotonic clock) of events that wait their turn.
        self._waiting: deque[tuple[int, Outgoing, float, float]] = deque()
        self._sending = 0
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
        # The loop takes events at the same time; each goes to one of both.
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
        """What a try sends that begins at `now`; the signature is that of the try."""
        headers = {
            name: value if name.lower() in _SHOWN else "****" for name, value in self._headers(event, now).items()
        }
        return ShownRequest(f"POST {without_password(self._url)}", headers, event.body)

    def close(self) -> None:
        self._loop.call_if_running(self._client.close)
        if self._own_loop is not None:
            self._own_loop.close()

    def _headers(self, event: Outgoing, now: float) -> dict[str, str]:
        signed = self._signer.headers(event.id, event.body, now)
        return {**self._own_headers, "content-type": MEDIA_TYPE, **signed, **event.headers}

    # --- in the thread of the loop

    def _resume(self) -> None:
        self._held_back = False
        with suppress(IndexError):
            while self._sending < self.concurrency:
                next_one = self._waiting.popleft()
                self._sending += 1
                self._loop.spawn(self._run(*next_one))

    async def _run(self, number: int, event: Outgoing, now: float, at: float) -> None:
        """Send this event, then others that wait."""
        try:
            while True:
                tried = await self._try(event, now + clock.monotonic() - at)
                failed = tried.failure is not None and not tried.failure.about_event
                self._held_back = self._held_back or failed
                self._finish(number, tried)
                if self._held_back:
                    return
                try:
                    number, event, now, at = self._waiting.popleft()
                except IndexError:
                    return
        finally:
            self._sending -= 1

    async def _try(self, event: Outgoing, now: float) -> Try:
        started = clock.monotonic()
        status, kept = None, b""
        try:
            answer = await self._client.post(event.body, self._headers(event, now))
            status, kept = answer.status, answer.body[:ANSWER_KEPT_BYTES]
            failure = answer_outcome(answer, now=now)
        except DeliveryFailed as failed:
            failure = failed
        except Exception as error:  # noqa: BLE001 - a receiver may answer anything; it concerns one event
            failure = unexpected_failure(error, event_id=event.id)
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

    Another 4xx refuses this one event.
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
