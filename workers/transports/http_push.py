"""Transport `http`: POST of the CloudEvent, signed by Standard Webhooks 1.0."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from bridge.config.model import Subscription
from bridge.errors import ConfigError, DeliveryFailed
from bridge.net.address_policy import check_url
from bridge.net.push_client import Answer, Client
from bridge.net.signatures import standard_webhook_headers
from schemas.event import MEDIA_TYPE
from workers.transports.contract import Outcome, Outgoing

__all__ = ["HttpPush", "judge_answer", "retry_after_seconds"]

#: One slow receiver gets at most so many requests at a time.
_AT_ONCE = 4


class HttpPush:
    """Sends a batch over a few connections; the events of one attempt follow each other, in order."""

    batch = 2 * _AT_ONCE

    def __init__(self, subscription: Subscription) -> None:
        url = subscription.url or ""
        problem = check_url(url, allow_private=subscription.allow_private)
        if problem is not None:
            raise ConfigError(f"subscriptions.{subscription.name}.url: {problem}")
        self._secrets = subscription.secrets
        self._client = Client(url, allow_private=subscription.allow_private)

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Outcome]:
        """Returns after at most the deadline of the longest chain of events of one attempt."""
        outcomes: list[Outcome] = [None] * len(events)
        chains: dict[tuple[str, str], list[int]] = {}
        for place, event in enumerate(events):
            chains.setdefault((event.source, event.attempt), []).append(place)
        waiting = list(chains.values())
        lock = threading.Lock()
        crashed: list[BaseException] = []

        def work() -> None:
            while True:
                with lock:
                    if not waiting or crashed:
                        return
                    chain = waiting.pop(0)
                for place in chain:
                    try:
                        self._push(events[place], now)
                    except DeliveryFailed as failure:
                        outcomes[place] = failure
                    except BaseException as error:  # noqa: BLE001 - handed to the caller's thread below
                        crashed.append(error)
                        return

        # Daemon threads: a receiver that hangs must not hold up the end of the process.
        threads = [
            threading.Thread(target=work, daemon=True, name="push") for _ in range(min(_AT_ONCE, len(waiting)) - 1)
        ]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        if crashed:
            raise crashed[0]
        return outcomes

    def close(self) -> None:
        self._client.close()

    def _push(self, event: Outgoing, now: float) -> None:
        headers = standard_webhook_headers(self._secrets, event.id, event.body, now)
        answer = self._client.post(event.body, {"content-type": MEDIA_TYPE, **headers})
        failure = judge_answer(answer, now=now)
        if failure is not None:
            raise failure


def judge_answer(answer: Answer, *, now: float) -> Outcome:
    """2xx is a success; 410 asks to be left alone; everything else, redirects too, is a failure to be tried again."""
    status = answer.status
    if 200 <= status < 300:
        return None
    if status == 410:
        return DeliveryFailed(
            "receiver answered 410 Gone; resume the subscription to go on", reason="gone", charged=False
        )
    if 300 <= status < 400:
        return DeliveryFailed(
            f"receiver answered {status}; redirects are not followed, change `url`", reason="redirect"
        )
    reason = "receiver_error" if status >= 500 else "receiver_refused"
    retry_after = None
    if status in (429, 503):
        retry_after = retry_after_seconds(answer.headers.get("retry-after", ""), now=now)
        reason = "throttled" if status == 429 else reason
    return DeliveryFailed(f"receiver answered {status}", reason=reason, retry_after=retry_after)


def retry_after_seconds(value: str, *, now: float) -> float | None:
    """Retry-After as seconds from `now`: a number or an HTTP date (RFC 9110, 10.2.3); None for anything else."""
    value = value.strip()
    if value.isdecimal() and value.isascii():
        return float(value[:10])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now, UTC)).total_seconds())
