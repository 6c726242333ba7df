"""Publishing ticks to RabbitMQ so that one which reaches no queue is noticed.

A channel that first publishes to a quorum queue while the node of its leader is down keeps that leader: RabbitMQ 3.10
drops every message of the channel until the node is back, and no call fails. Only the negative confirm shows it; the
tick is then sent again on a new connection, which looks up the leader again.
"""

from __future__ import annotations

from typing import Any

from amqp.exceptions import MessageNacked
from kombu.transport import pyamqp

from bridge import clock

__all__ = ["CONFIRM_SECONDS", "ConfirmingChannel", "ConfirmingConnection"]

#: How long a tick may wait for its confirm, before it is sent again on a new connection.
CONFIRM_SECONDS = 1.0


class ConfirmingChannel(pyamqp.Channel):  # type: ignore[misc]  # kombu has no types
    """Where the connection has `confirm_publish`, waits for each confirm, unless an alarm of the broker blocks it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Number of the last message: the broker's confirms use it.
        self._last = 0
        self._waits = self._refused = False
        self.events["basic_ack"].add(self._on_ack)
        self.events["basic_nack"].add(self._on_nack)

    def basic_publish_confirm(self, *args: Any, confirm_timeout: float | None = None, **kwargs: Any) -> None:
        """Publish, and wait for the confirm; under an alarm the message waits at the broker instead.

        Raises `TimeoutError` if no confirm comes, `MessageNacked` if the broker refuses; kombu connects again for both.
        """
        # Not py-amqp's own method, which takes any confirm for this message's, and waits for it even under an alarm.
        if not self._last:
            self.confirm_select()
        self._last += 1
        self._waits, self._refused = True, False
        self._basic_publish(*args, **kwargs)
        end = clock.monotonic() + (confirm_timeout or CONFIRM_SECONDS)
        # Each connection abandoned under an alarm would stay at the broker, with one more copy of the message.
        while self._waits and not self.connection.blocked:
            self.connection.drain_events(timeout=max(end - clock.monotonic(), 0.001))
        if self._refused:
            raise MessageNacked

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:
        if self._is_last(delivery_tag, multiple):
            self._waits = False

    def _on_nack(self, delivery_tag: int, multiple: bool) -> None:
        if self._is_last(delivery_tag, multiple):
            self._waits, self._refused = False, True

    def _is_last(self, tag: int, multiple: bool) -> bool:
        # Tag 0 with `multiple` means all messages.
        return tag == self._last or (multiple and tag == 0)


class ConfirmingConnection(pyamqp.Connection):  # type: ignore[misc]  # kombu has no types
    """A connection that records whether an alarm of the broker blocks it."""

    Channel = ConfirmingChannel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, on_blocked=self._block, on_unblocked=self._unblock, **kwargs)
        self.blocked = False

    def _block(self, _reason: str) -> None:
        self.blocked = True

    def _unblock(self) -> None:
        self.blocked = False
