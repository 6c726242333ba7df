"""Transport `http`: a POST of the CloudEvent, signed as in Standard Webhooks 1.0."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from bridge import clock
from bridge.config.model import Subscription
from bridge.errors import ConfigError, DeliveryFailed
from bridge.net.address_policy import check_url
from bridge.net.push_client import Answer, Client
from bridge.net.retry_after import retry_after_seconds
from bridge.net.signatures import standard_webhook_headers
from schemas.event import MEDIA_TYPE
from workers.transports.contract import ANSWER_KEPT_BYTES, Outcome, Outgoing, Try
from workers.transports.faults import unexpected_failure

__all__ = ["HttpPush", "answer_outcome"]

#: Of 4xx, those that concern the receiver and not the one event.
_RECEIVER_BUSY = (408, 425, 429)
#: Maximum number of concurrent requests to one receiver.
_CONCURRENCY = 4


class HttpPush:
    """Sends a batch over a few connections; the events of one attempt are sent in order, one after another."""

    batch = 2 * _CONCURRENCY

    def __init__(self, subscription: Subscription) -> None:
        url = subscription.url or ""
        problem = check_url(url, allow_private=subscription.allow_private)
        if problem is not None:
            raise ConfigError(f"subscriptions.{subscription.name}.url: {problem}")
        self._secrets = subscription.secrets
        self._client = Client(url, allow_private=subscription.allow_private)

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        """Takes at most the deadline of the longest chain of events of one attempt."""
        # Replaced by the try of each event: one that was not reached has not been delivered.
        not_sent = DeliveryFailed("not sent: the sending thread ended", reason="not_sent")
        tries = [Try(not_sent, now, 0.0)] * len(events)
        chains: dict[tuple[str, str], list[int]] = {}
        for index, event in enumerate(events):
            chains.setdefault((event.source, event.attempt), []).append(index)
        waiting = list(chains.values())
        lock, began = threading.Lock(), clock.monotonic()

        def work() -> None:
            while True:
                with lock:
                    if not waiting:
                        return
                    chain = waiting.pop(0)
                for index in chain:
                    tries[index] = self._try(events[index], now + clock.monotonic() - began)

        # Daemon threads: a receiver that hangs must not delay the end of the process.
        threads = [
            threading.Thread(target=work, daemon=True, name="push") for _ in range(min(_CONCURRENCY, len(waiting)) - 1)
        ]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        return tries

    def close(self) -> None:
        self._client.close()

    def _try(self, event: Outgoing, now: float) -> Try:
        started = clock.monotonic()
        status, kept = None, b""
        try:
            headers = standard_webhook_headers(self._secrets, event.id, event.body, now)
            answer = self._client.post(event.body, {"content-type": MEDIA_TYPE, **headers})
            status, kept = answer.status, answer.body[:ANSWER_KEPT_BYTES]
            failure = answer_outcome(answer, now=now)
        except DeliveryFailed as failed:
            failure = failed
        except Exception as error:  # noqa: BLE001 - a receiver may answer anything; it concerns one event
            failure = unexpected_failure(error, event_id=event.id)
        return Try(failure, now, clock.monotonic() - started, status, kept)


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
