"""Confirms to the bridge what has been processed, for subscriptions with `receipts: {required: true}`.

Over HTTP no receipt is needed: the answer 2xx is the receipt.
"""

from __future__ import annotations

import functools
import http.client
import json
import logging
import urllib.error
import urllib.request
from typing import Any, Callable, TypeVar, Union

from attempt_bridge_client.errors import ConfigurationError, ReceiptFailed
from attempt_bridge_client.events import Event

__all__ = ["Receipt", "confirmed_by", "queue_receipt", "receipt", "send_quietly"]

T = TypeVar("T")
#: Confirms one event, given as an `Event` or by its id. Raises `ReceiptFailed`.
Receipt = Callable[[Union[Event, str]], None]
#: Where dispatch reads receipts, in the bridge's own broker.
QUEUE = "attempt-bridge.receipts"
TASK = "bridge.receipt"
#: No receipt is expected for the test of a subscription.
_UNCONFIRMED = "bridge.test"

log = logging.getLogger(__name__)


def receipt(subscription: str, *, url: str, token: str, timeout: float = 10.0) -> Receipt:
    """Receipts for one subscription over HTTP. `url`: the bridge's; `token`: with role receiver; `timeout`: seconds.

    Raises `ConfigurationError` for an address that is neither http nor https.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError("the bridge's address starts with neither http:// nor https://. Remedy: pass its URL")
    # Redirects are not followed: the token is not for any other address.
    opener = urllib.request.build_opener(_NoRedirect)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def send(event: Union[Event, str]) -> None:
        body = json.dumps({"subscription": subscription, "event_id": _id_of(event)}).encode()
        request = urllib.request.Request(f"{url.rstrip('/')}/api/v1/receipts", body, headers)  # noqa: S310 - checked above
        try:
            opener.open(request, timeout=timeout).close()
        except urllib.error.HTTPError as error:
            error.close()
            raise ReceiptFailed(f"{_id_of(event)}: the bridge answered {error.code}", status=error.code) from error
        except (OSError, http.client.HTTPException) as error:
            raise ReceiptFailed(f"{_id_of(event)}: no answer from the bridge: {type(error).__name__}") from error

    return _for_events(send)


def queue_receipt(subscription: str, *, app: Any) -> Receipt:
    """Receipts for one subscription through the bridge's broker. `app`: a Celery application that uses this broker."""

    def send(event: Union[Event, str]) -> None:
        from kombu.exceptions import OperationalError  # noqa: PLC0415 - a Celery app shows that it is installed

        try:
            app.send_task(TASK, args=[subscription, _id_of(event)], queue=QUEUE, ignore_result=True)
        except (OperationalError, OSError) as error:
            raise ReceiptFailed(f"{_id_of(event)}: the broker did not accept it: {type(error).__name__}") from error

    return _for_events(send)


def confirmed_by(send: Receipt) -> Callable[[Callable[[Event], T]], Callable[[Event], T]]:
    """Decorate a handler: once it has returned, for duplicates too, the event is confirmed. If it raises, it is not."""

    def decorate(handler: Callable[[Event], T]) -> Callable[[Event], T]:
        @functools.wraps(handler)
        def confirmed(event: Event) -> T:
            result = handler(event)
            send_quietly(send, event)
            return result

        return confirmed

    return decorate


def send_quietly(send: Receipt, event: Event) -> None:
    """Confirm; a failure is logged, not raised: the work is done, and the event is sent again and confirmed then."""
    try:
        send(event)
    except ReceiptFailed as error:
        log.warning("receipt failed: %s. The event is sent again and confirmed then", error)


def _for_events(send: Receipt) -> Receipt:
    def send_unless_test(event: Union[Event, str]) -> None:
        if isinstance(event, str) or event.type != _UNCONFIRMED:
            send(event)

    return send_unless_test


def _id_of(event: Union[Event, str]) -> str:
    return event if isinstance(event, str) else event.id


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Treat a redirect as an error."""
