"""Second sittings under one id: a vendor that names an attempt by schedule and person may let the person sit again.

The vendor's own id of a sitting, where a record has one, tells them apart, and its start proves it: two ids with one
start are one sitting, whoever made the second id up. The first sitting keeps the plain id, the second gets `:2`. A
record without an id belongs to the newest sitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

import redis

from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["Sittings"]

_DAY = 86_400


class Sittings:
    """The sittings of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._resolve = scripts.register(client, __file__, "resolve_sittings")

    def resolve(
        self,
        source: str,
        found: Sequence[tuple[str, str | None, datetime | None]],
        *,
        now: float,
        remember: bool = True,
    ) -> list[str]:
        """The attempt id of each (base id, sitting or None, start or None).

        A sitting that is new is remembered where a record proves it; a mere pointer (`remember=False`) belongs to the
        newest sitting known, or whoever knows the webhook's address could start new attempts.
        """
        if not found:
            return []
        args: list[str] = [str(int(now // _DAY)) if remember else ""]
        for base, sitting, start in found:
            # A comma would end it: theirs are numbers or uuids.
            args += [base, (sitting or "").replace(",", "_"), "" if start is None else f"{start.timestamp():.0f}"]
        with state_errors():
            numbers = cast("list[int]", self._resolve(keys=[keys.sittings(source)], args=args))
        return [base if n == 1 else f"{base}:{n}" for (base, _, _), n in zip(found, numbers, strict=True)]

    def forget(self, source: str, *, before: float) -> int:
        """Drop what has not changed since a moment; how many. Works in small steps beside everything else."""
        last_day, dropped = int(before // _DAY), 0
        with state_errors():
            for base, value in self.client.hscan_iter(keys.sittings(source), count=500):
                if int(value.partition(b"|")[0]) < last_day:
                    dropped += self.client.hdel(keys.sittings(source), base)
        return dropped
