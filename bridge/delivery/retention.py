"""Deletes what is past its retention: settled deliveries, dead letters, failure groups that were fixed long ago."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from bridge.config.model import Retention
from bridge.delivery.group_store import FailureGroups
from bridge.delivery.history import History
from bridge.delivery.store import EXPIRED, Deliveries
from bridge.journal.entries import StreamItems
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["DeliveryRetention", "DeliveryRetentionReport"]

_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRetentionReport:
    """Numbers deleted in one round."""

    #: Settled deliveries.
    deliveries: int
    #: Dead letters.
    dead_letters: int


class DeliveryRetention:
    """The beat runs it every hour. Running it twice, or late, does no harm."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._history = History(deliveries.client, partitions=deliveries.partitions)
        self._groups = FailureGroups(deliveries)

    def run(self, retention: Retention, subscriptions: Iterable[str], *, now: float) -> DeliveryRetentionReport:
        """Delete what is too old; the numbers deleted. `now`: UNIX seconds. Raises `StateUnavailable`."""
        settled = letters = 0
        for name in subscriptions:
            settled += self._history.trim(name, before=now - retention.deliveries)
            letters += self._expire_letters(name, now - retention.dead_letters, now)
            self._groups.forget_fixed(name, before=now - retention.deliveries)
        return DeliveryRetentionReport(deliveries=settled, dead_letters=letters)

    def _expire_letters(self, subscription: str, before: float, now: float) -> int:
        """Delete the dead letters stored before `before`; they are counted, so that nothing vanishes unseen."""
        newest, expired = f"({max(0, int(before * 1000))}-0", 0
        for partition in range(self._deliveries.partitions):
            while True:
                with state_errors():
                    answer = self._deliveries.client.xrange(keys.dead(subscription, partition), "-", newest, _PAGE)
                page = [f"{partition}:{entry.decode()}" for entry, _ in cast("StreamItems", answer)]
                if not page:
                    break
                expired += self._deliveries.discard(subscription, page, now=now, counted_as=EXPIRED)
        return expired
