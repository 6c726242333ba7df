"""Second sittings under one attempt id: some vendors name an attempt by schedule and person and let the person resit.

The vendor's own id of a sitting, where a record has one, tells sittings apart; the start confirms it: two sitting ids
with the same start are one sitting. The first sitting keeps the plain attempt id, the second gets `:2`. A record
without a sitting id belongs to the newest sitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import cast

import redis

from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["Sittings"]

_DAY = 86_400
#: Maximum number of sittings in one call of the script.
_BATCH = 1000


class Sittings:
    """The sittings of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._resolve = scripts.register(client, __file__, "resolve_sittings")
        self._erase = scripts.register(client, __file__, "erase_sittings")

    def resolve(
        self,
        source: str,
        sittings: Sequence[tuple[str, str | None, datetime | None]],
        *,
        now: float,
        remember: bool = True,
    ) -> list[str]:
        """The attempt id of each (base id, sitting id or None, start or None).

        `remember`: store new sittings. A record proves a sitting; a pointer does not (False) and belongs to the newest
        known one, otherwise anybody who knows the webhook's address could start new attempts.
        """
        if not sittings:
            return []
        numbers: list[int] = []
        for first in range(0, len(sittings), _BATCH):
            args: list[str] = [str(int(now // _DAY)) if remember else ""]
            for base, sitting, start in sittings[first : first + _BATCH]:
                # The stored list is separated by commas. Vendors' ids are numbers or UUIDs and have none.
                args += [
                    base,
                    _digest(base),
                    (sitting or "").replace(",", "_"),
                    "" if start is None else f"{start.timestamp():.0f}",
                ]
            with state_errors():
                numbers += cast("list[int]", self._resolve(keys=[keys.sittings(source)], args=args))
        return [base if n == 1 else f"{base}:{n}" for (base, _, _), n in zip(sittings, numbers, strict=True)]

    def erase(self, source: str, base_ids: Sequence[str]) -> None:
        """Keep the sittings of these attempt ids under digests of the ids, so that nothing names the person."""
        with state_errors():
            self._erase(
                keys=[keys.sittings(source)], args=[text for base in base_ids for text in (base, _digest(base))]
            )

    def forget(self, source: str, *, before: float) -> int:
        """Delete attempt ids whose sittings have not changed since a moment; returns the number deleted."""
        last_day, deleted = int(before // _DAY), 0
        with state_errors():
            for base, value in self.client.hscan_iter(keys.sittings(source), count=500):
                if int(value.partition(b"|")[0]) < last_day:
                    deleted += self.client.hdel(keys.sittings(source), base)
        return deleted


def _digest(base: str) -> str:
    """The name of an attempt id's field after its person was erased."""
    return f"#{sha256(base.encode()).hexdigest()[:32]}"
