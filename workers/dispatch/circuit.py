"""The circuit of a subscription: stops sending to a receiver that fails, and lets single events through as probes.

All processes share it. It judges the receiver only: a refusal of one event shows that the receiver answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import redis

from bridge.state import scripts
from workers.dispatch.schedule import Limits
from workers.dispatch.settlement import failure_text
from workers.transports.contract import Outcome

__all__ = ["Circuit", "last_error", "trailing_failures"]


class Circuit:
    """`key`: the state of the subscription. `client` may retry scripts. Methods raise the errors of redis-py."""

    def __init__(self, client: redis.Redis, key: str, limits: Limits) -> None:
        self._client, self._key, self._limits = client, key, limits
        self._admit = scripts.register(client, __file__, "admit")
        self._update = scripts.register(client, __file__, "update_circuit")

    def admit(self, now: float) -> tuple[str, bool]:
        """(`go`, `probe`, `wait`, `paused` or `disabled`; whether the last tries failed)."""
        word, failures = cast(
            "tuple[bytes, int]", self._admit(keys=[self._key], args=[f"{now:.3f}", self._limits.open_for])
        )
        return word.decode(), int(failures) > 0

    def probe_again(self) -> None:
        """Allow the next probe at once, because the last one found nothing to send."""
        self._client.hset(self._key, "open_until", 0)

    def record(self, outcomes: Sequence[Outcome], now: float, *, gone: str = "") -> None:
        """Record what a batch says about the receiver. `outcomes`: charged ones. `gone`: why to disable at once."""
        trailing = trailing_failures(outcomes)
        limits = self._limits
        args: list[str | int | float] = [f"{now:.3f}", trailing, int(trailing < len(outcomes))]
        args += [gone or last_error(outcomes), limits.open_after, limits.open_after_recent_answer]
        args += [limits.recent, limits.open_for, limits.disable_after, gone]
        self._update(keys=[self._key], args=args)


def trailing_failures(outcomes: Sequence[Outcome]) -> int:
    """The number of failures of the receiver in a row at the end of a batch."""
    trailing = 0
    for outcome in reversed(outcomes):
        if outcome is None or outcome.about_event:
            break
        trailing += 1
    return trailing


def last_error(outcomes: Sequence[Outcome]) -> str:
    """The text of the last failure of a batch, of either kind; empty if there is none."""
    return next((failure_text(outcome) for outcome in reversed(outcomes) if outcome is not None), "")
