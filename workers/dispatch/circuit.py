"""The circuit of a subscription: stops sending to a receiver that fails, and lets single events through as probes.

All processes share it. It judges the receiver only: a refusal of one event shows that the receiver answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import redis
import structlog

from bridge.state import keys, scripts
from bridge.state.cluster.slot_map import LOST
from workers.dispatch.schedule import Limits, Repeated
from workers.dispatch.settlement import failure_text
from workers.transports.contract import Outcome

__all__ = ["Circuit", "last_error", "trailing_failures"]

#: Seconds after which a circuit that stays open is logged again.
_LOG_AGAIN = 3600.0

_log = structlog.get_logger(__name__)


class Circuit:
    """`client` may retry scripts. `lane`: identifies the caller. Methods raise the errors of redis-py.

    `apart`: the lane is in another partition than the circuit. If only the server of the circuit is away, on a cluster,
    the lane uses the last answer; if its own server is away too, its other commands fail.
    """

    def __init__(
        self, client: redis.Redis, subscription: str, lane: str, limits: Limits, *, apart: bool = False
    ) -> None:
        self._apart, self._last = apart, ("go", False)
        self._client, self._key, self._limits = client, keys.subscription_state(subscription), limits
        self._subscription, self._lane, self._pauses = subscription, lane, keys.pauses(subscription)
        self._log = Repeated(_LOG_AGAIN)
        self._admit = scripts.register(client, __file__, "admit")
        self._update = scripts.register(client, __file__, "update_circuit")

    def admit(self, now: float, *, sending: bool = False) -> tuple[str, bool]:
        """(`go`, `probe`, `wait`, `paused` or `disabled`; whether the last tries failed).

        `sending`: events are under way, so a pause is not complete yet.
        """
        args: list[str | float] = [f"{now:.3f}", self._limits.open_for, self._lane, int(sending)]
        with self._unless_away():
            word, failures = cast("tuple[bytes, int]", self._admit(keys=[self._key, self._pauses], args=args))
            self._last = word.decode(), int(failures) > 0
        return self._last

    @contextmanager
    def _unless_away(self) -> Iterator[None]:
        try:
            yield
        except LOST:
            if not self._apart:
                raise

    def probe_again(self) -> None:
        """Allow the next probe at once, because the last one found nothing to send."""
        with self._unless_away():
            self._client.hset(self._key, "open_until", 0)

    def record(self, outcomes: Sequence[Outcome], now: float, *, gone: str = "") -> None:
        """Record what a batch shows about the receiver. `outcomes`: charged ones. `gone`: why to disable at once."""
        trailing = trailing_failures(outcomes)
        limits = self._limits
        args: list[str | int | float] = [f"{now:.3f}", trailing, int(trailing < len(outcomes))]
        args += [gone or last_error(outcomes), limits.open_after, limits.open_after_recent_answer]
        args += [limits.recent, limits.open_for, limits.disable_after, gone]
        failed = sum(outcome is not None for outcome in outcomes)
        args += [int(failed < len(outcomes)), failed]
        word = ""
        with self._unless_away():
            word = cast("bytes", self._update(keys=[self._key], args=args)).decode()
        if word == "closed":
            self._log.ended()
            _log.info("circuit_closed", subscription=self._subscription)
        elif word == "open" and self._log.is_due("open", now):
            _log.warning("circuit_open", subscription=self._subscription, problem=gone or last_error(outcomes))
        elif word == "disabled":
            _log.error(
                "subscription_disabled",
                subscription=self._subscription,
                problem=gone or last_error(outcomes),
                remedy=f"fix the receiver, then attempt-bridge subscriptions resume {self._subscription}",
            )


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
