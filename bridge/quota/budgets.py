"""Budgets: how many calls a source may still make, by its window, the vendor's own limit and pauses."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from bridge.errors import BudgetExhausted, VendorRefused, VendorThrottled, clip
from bridge.quota.windows import BACKFILL, OVERDUE, POINTER, POLL, RECONCILE, REREAD, TEST, Window, reserved
from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = [
    "BACKFILL",
    "OVERDUE",
    "POINTER",
    "POLL",
    "RECONCILE",
    "REREAD",
    "TEST",
    "BudgetStatus",
    "Budgets",
    "Pause",
    "VendorLimit",
    "Window",
    "paused_by_operator",
]

#: The reason stored for an operator's pause.
_PAUSED_BY_OPERATOR = "paused by an operator"
#: Seconds that a call stays stored after it has left the window: for processes whose clocks are slow.
_CLOCK_SLACK = 60.0
#: Two resets less than this many seconds apart are the same one: vendors round to whole seconds, and answers take time.
_SAME_RESET = 5.0


@dataclass(frozen=True, slots=True)
class Pause:
    """A source makes no calls until the pause ends."""

    #: UNIX seconds; infinite: until an operator resumes the source.
    until: float
    #: One line for operators.
    reason: str

    @property
    def indefinite(self) -> bool:
        """Whether only an operator can end it."""
        return math.isinf(self.until)

    @property
    def by_operator(self) -> bool:
        """Whether an operator paused the source: then webhooks get 503 too."""
        return self.reason == _PAUSED_BY_OPERATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorLimit:
    """The limit that the vendor's own headers state."""

    #: Calls left until the reset.
    remaining: int
    #: Calls allowed between two resets.
    limit: int
    #: UNIX seconds.
    resets_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """The state of one source's budget at one moment."""

    #: The window that the source is configured with.
    window: Window
    #: Calls of the window that are spent.
    used: int
    #: Calls that some spender may still make, by the window and by the vendor's limit.
    left: int
    #: UNIX seconds of the next reset; for a sliding window when its oldest call leaves it, None if it has no calls.
    resets_at: float | None
    #: Spender -> calls it has used.
    spenders: Mapping[str, int]
    #: The current pause, if any.
    pause: Pause | None
    #: The vendor's limit, if it has stated one that still applies.
    vendor_limit: VendorLimit | None


class Budgets:
    """The budgets of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._take = scripts.register(client, __file__, "take")
        self._extend_pause = scripts.register(client, __file__, "extend_pause")
        self._record_vendor_limit = scripts.register(client, __file__, "record_vendor_limit")

    def take(
        self,
        source: str,
        window: Window,
        now: float,
        *,
        spender: str,
        token: str | None = None,
        polled: bool = True,
    ) -> None:
        """Spend one call of the window at `now` for `spender`, one of `bridge.quota.windows.SPENDERS`.

        Calls reserved for other spenders are not spent (`bridge.quota.windows.reserved`, with `polled`). `token`
        identifies the call; the same token is charged once.

        Raises `BudgetExhausted` (no call is free before its `retry_at`), `VendorThrottled` during a pause that ends
        without an operator, and `VendorRefused` while the source is stopped.
        """
        since = window.since(now)
        reservations = [part for other in reserved(spender, window, now, polled=polled).items() for part in other]
        with state_errors():
            answer = cast(
                "list[bytes]",
                self._take(
                    keys=[keys.budget(source), keys.paused(source), keys.vendor_limit(source)],
                    args=[
                        *(repr(now), repr(since), window.calls),
                        *(repr(since - _CLOCK_SLACK), math.ceil(2 * window.per_seconds + _CLOCK_SLACK)),
                        *(spender, token or secrets.token_hex(8), *reservations),
                    ],
                ),
            )
        if answer[0] == b"paused":
            raise _pause_error(source, _parse_pause(answer[1]))
        if answer[0] == b"used_up":
            raise _exhausted_error(source, window, now, *answer[1:])

    def record_vendor_limit(
        self, source: str, remaining: int, resets_at: float, now: float, *, limit: int | None = None
    ) -> None:
        """Store the vendor's statement: `remaining` calls (of `limit`, if stated) until `resets_at`, UNIX seconds.

        Until then `take` obeys the stricter of this and the window. A higher number before the same reset is ignored,
        and so is a statement whose reset is over.
        """
        if resets_at <= now:
            return
        remaining = max(remaining, 0)
        with state_errors():
            self._record_vendor_limit(
                keys=[keys.vendor_limit(source)],
                args=[
                    *(repr(now), remaining, max(remaining, limit or 0), repr(resets_at)),
                    *(_SAME_RESET, math.ceil(resets_at - now + _CLOCK_SLACK)),
                ],
            )

    def check(self, source: str, now: float) -> None:
        """Before a call that costs nothing: raises `VendorThrottled` or `VendorRefused` like `take`."""
        pause = self.paused(source, now)
        if pause is not None:
            raise _pause_error(source, pause)

    def paused(self, source: str, now: float) -> Pause | None:
        """The pause in force at `now`, if any."""
        with state_errors():
            stored = cast("bytes | None", self.client.get(keys.paused(source)))
        return _pause_in_force(stored, now)

    def pause_until(self, source: str, moment: float, reason: str) -> None:
        """Allow no calls before `moment`; `math.inf` stops the source until `resume`. A longer pause stays in force."""
        until = "inf" if math.isinf(moment) else repr(moment)
        with state_errors():
            self._extend_pause(keys=[keys.paused(source)], args=[until, f"{until} {clip(reason, 200)}"])

    def pause(self, source: str) -> None:
        """An operator's pause until `resume`: no calls, and webhooks get 503. It replaces any other pause."""
        with state_errors():
            self.client.set(keys.paused(source), f"inf {_PAUSED_BY_OPERATOR}")

    def resume(self, source: str) -> bool:
        """End a pause or a stop; False if there was none."""
        with state_errors():
            return bool(self.client.delete(keys.paused(source)))

    def status(self, source: str, window: Window, now: float) -> BudgetStatus:
        """How many calls of the window are used and left at `now`, and which spenders used them."""
        return self.statuses({source: window}, now)[source]

    def statuses(self, windows: Mapping[str, Window], now: float) -> dict[str, BudgetStatus]:
        """The same for several sources, in one round trip. `windows`: by source."""
        pipe = self.client.pipeline(transaction=False)
        for source, window in windows.items():
            pipe.zrangebyscore(keys.budget(source), f"({window.since(now)!r}", "+inf", withscores=True)
            pipe.hgetall(keys.vendor_limit(source))
            pipe.get(keys.paused(source))
        with state_errors():
            answers = iter(pipe.execute() if windows else ())
        read = zip(windows.items(), answers, answers, answers, strict=True)
        return {source: _status(window, now, *stored) for (source, window), *stored in read}


def _status(
    window: Window,
    now: float,
    calls: Sequence[tuple[bytes, float]],
    stated: Mapping[bytes, bytes],
    paused: bytes | None,
) -> BudgetStatus:
    """`calls`: with their times; `stated`: the vendor's limit as it is stored; `paused`: the pause."""
    vendor_limit, left = _vendor_limit(stated, now), max(0, window.calls - len(calls))
    daily = window.resets_at is not None
    return BudgetStatus(
        window=window,
        used=len(calls),
        left=left if vendor_limit is None else min(left, vendor_limit.remaining),
        resets_at=window.available_again_at(now, calls[0][1] if calls else now) if calls or daily else None,
        spenders=Counter(member.decode().partition("|")[0] for member, _ in calls),
        pause=_pause_in_force(paused, now),
        vendor_limit=vendor_limit,
    )


def _vendor_limit(stored: Mapping[bytes, bytes], now: float) -> VendorLimit | None:
    if not stored or float(stored[b"resets_at"]) <= now:
        return None
    return VendorLimit(
        remaining=int(stored[b"remaining"]), limit=int(stored[b"limit"]), resets_at=float(stored[b"resets_at"])
    )


def _pause_in_force(stored: bytes | None, now: float) -> Pause | None:
    pause = None if stored is None else _parse_pause(stored)
    return pause if pause is not None and pause.until > now else None


def paused_by_operator(client: redis.Redis, sources: Sequence[str]) -> frozenset[str]:
    """The sources that an operator has paused, in one round trip. redis-py's errors pass through."""
    stored = cast("list[bytes | None]", client.mget([keys.paused(name) for name in sources])) if sources else []
    return frozenset(
        name
        for name, pause in zip(sources, stored, strict=True)
        if pause is not None and _parse_pause(pause).by_operator
    )


def _parse_pause(stored: bytes) -> Pause:
    until, _, reason = stored.decode().partition(" ")
    return Pause(float(until), reason)


def _pause_error(source: str, pause: Pause) -> VendorRefused | VendorThrottled:
    if pause.indefinite:
        return VendorRefused(
            f"source {source} is stopped: {pause.reason}. Fix it, then run `attempt-bridge sources resume {source}`",
            reason="stopped",
        )
    return VendorThrottled(f"source {source} is paused: {pause.reason}", reason="paused", retry_at=pause.until)


def _exhausted_error(
    source: str, window: Window, now: float, left: bytes, oldest: bytes, reset: bytes
) -> BudgetExhausted:
    next_call_at = window.reserve_shrinks_at if int(left) > 0 else window.available_again_at
    moments = [next_call_at(now, float(oldest))] if oldest else []
    moments += [float(reset)] if reset else []
    calls = f"all {window.calls} calls of its budget" if oldest else "all calls that the vendor's limit allows"
    return BudgetExhausted(
        f"source {source}: {calls} are spent or reserved; reading resumes by itself when calls are free again",
        retry_at=max(moments),
    )
