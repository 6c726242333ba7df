"""Transport `kafka`: each event is one message of a topic, in structured mode of the CloudEvents binding.

The key is the event's `partitionkey`, so the events of one attempt are in one partition and in order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from bridge import clock
from bridge.config.model import Subscription
from bridge.errors import BridgeError, ConfigError, DeliveryFailed, Rejected, Retryable
from bridge.kafka.opening import Client, Record, place_of, topic_of
from schemas.event import MEDIA_TYPE
from workers.transports.contract import Outcome, Outgoing, ShownRequest, Try
from workers.transports.faults import unexpected_failure

__all__ = ["KafkaMessages"]

#: No further message is begun after this many seconds: other processes may take the events after `Limits.lease`.
_SECONDS = 90.0


class KafkaMessages:
    """An event counts as delivered when the brokers have confirmed its own message."""

    batch = 500

    def __init__(self, subscription: Subscription, client: Client | None = None) -> None:
        """Raises `ConfigError`."""
        self._client = client or topic_of(subscription)
        self._to = place_of(subscription)

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        """Write the events in one batch, and wait for the confirmation of each."""
        started = clock.monotonic()
        outcomes: list[Outcome] = [None] * len(events)
        answers = [b""] * len(events)
        records: list[tuple[int, Record]] = []
        for number, event in enumerate(events):
            try:
                records.append((number, _record(event)))
            except Exception as error:  # noqa: BLE001 - any error here concerns one event
                outcomes[number] = unexpected_failure(error, event_id=event.id)
        written = self._client.write([record for _, record in records], until=started + _SECONDS)
        for (number, _), result in zip(records, written, strict=True):
            if isinstance(result, BridgeError):
                outcomes[number] = _failure(result)
            else:
                answers[number] = result.encode()
        seconds = clock.monotonic() - started
        return [Try(outcome, now, seconds, None, answer) for outcome, answer in zip(outcomes, answers, strict=True)]

    def shown(self, event: Outgoing, *, now: float) -> ShownRequest:
        """What is written; the key is shown as a header."""
        record = _record(event)
        return ShownRequest(
            self._to, {"key": record.key, **{name: value.decode() for name, value in record.headers}}, record.value
        )

    def close(self) -> None:
        self._client.close()


def _record(event: Outgoing) -> Record:
    headers = {"content-type": MEDIA_TYPE, **event.headers}
    return Record(
        json.loads(event.body)["partitionkey"], event.body, [(name, text.encode()) for name, text in headers.items()]
    )


def _failure(error: BridgeError) -> DeliveryFailed:
    """The failure. A fault that an operator must fix uses no try: the events wait, and the subscription shows why."""
    if isinstance(error, Rejected):
        return DeliveryFailed(str(error), reason=error.reason, permanent=True, about_event=True)
    if isinstance(error, ConfigError):
        return DeliveryFailed(str(error), reason="kafka_misconfigured", charged=False)
    return DeliveryFailed(str(error), reason=error.reason, charged=not isinstance(error, Retryable))
