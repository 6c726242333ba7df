"""Removes deliveries as an erasure needs it: without counting them as ended, and without a trace of what they held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import redis

from bridge.delivery.outcomes import outcome_keys, register
from bridge.delivery.record import DeadLetter

__all__ = ["ErasingDeliveries"]


class ErasingDeliveries:
    """The scripts. Every method may be repeated, and raises the errors of redis-py."""

    def __init__(self, client: redis.Redis) -> None:
        self._deliveries = register(client, __file__, "erase_deliveries")
        self._settled = register(client, __file__, "erase_settled")
        self._answers = register(client, __file__, "erase_answers")

    def end(self, subscription: str, partition: int, event_ids: Sequence[str | bytes], *, now: float) -> None:
        """End deliveries that wait for a retry or a receipt, with their tries. `now`: UNIX seconds."""
        self._deliveries(keys=outcome_keys(subscription, partition), args=[f"{now:.3f}", *event_ids])

    def remove_settled(self, subscription: str, partition: int, entries: Sequence[str]) -> None:
        """Delete deliveries that have ended. `entries`: stream ids."""
        self._settled(keys=outcome_keys(subscription, partition), args=list(entries))

    def remove_answers(self, subscription: str, letters: Sequence[DeadLetter]) -> None:
        """Replace dead letters by copies without their tries and errors; they get new ids."""
        for letter in letters:
            partition, _, entry = letter.id.partition(":")
            plain = replace(letter.delivery, error="", first_error="")
            self._answers(keys=outcome_keys(subscription, int(partition)), args=[entry, plain.to_json()])
