"""What those who watch deliveries see of tries. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bridge.delivery.try_feed import DEAD, DELIVERED, FAILED, HANDED_OVER, EndedTry
from workers.dispatch.settlement import Item, Row
from workers.transports.contract import Try

__all__ = ["ended_tries"]

#: Kind of a row for settle.lua -> what became of the try.
_OUTCOMES = {"ok": DELIVERED, "sent": HANDED_OVER, "retry": FAILED, "dead": DEAD}


def ended_tries(subscription: str, tried: Iterable[tuple[Item, Try]], rows: Sequence[Row]) -> list[EndedTry]:
    """The tries that were settled by one of the rows; others are repeated without being counted."""
    kinds = {row[2]: row[0] for row in rows}
    return [
        EndedTry(
            at=round(made.at, 3),
            subscription=subscription,
            event_id=item.delivery.id,
            type=item.delivery.type,
            source=item.delivery.source,
            outcome=_OUTCOMES[str(kind)],
            reason="" if made.failure is None else made.failure.reason,
            status=made.status,
            seconds=round(made.seconds, 3),
            tries=item.delivery.tries + 1,
        )
        for item, made in tried
        if (kind := kinds.get(item.delivery.id)) in _OUTCOMES
    ]
