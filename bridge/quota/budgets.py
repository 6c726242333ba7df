"""How many calls a source may still make: its window, what the vendor says, and a pause, shared by all processes."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis

from bridge.errors import BudgetExhausted, VendorRefused, VendorThrottled, clip
from bridge.quota.windows import BACKFILL, OVERDUE, POINTER, POLL, RECONCILE, REREAD, TEST, Window, kept
from bridge.state import keys
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
    "Learned",
    "Pause",
    "Window",
    "paused_by_operator",
]

#: The reason of an operator's pause.
_ON_PURPOSE = "paused by an operator"
#: Calls are forgotten so long after they have left the window, seconds: for processes whose clocks lag behind.
_CLOCK_SLACK = 60.0
#: Two resets closer than this are the same one, told in whole seconds by answers that took their time.
_SAME_RESET = 5.0

_TAKE = Path(__file__).with_name("take.lua").read_text()

# KEYS: learned (hash: `remaining` calls of `limit` until `resets_at`). ARGV: now, remaining, limit, resets_at, seconds
# that count as the same reset, seconds to live.
_LEARN = """
local now, remaining, limit, reset = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local had, had_limit, had_reset = unpack(redis.call("HMGET", KEYS[1], "remaining", "limit", "resets_at"))
if had_reset and tonumber(had_reset) > now and math.abs(had_reset - reset) < tonumber(ARGV[5]) then
  -- Answers overtake one another, and calls are under way: within one window calls only become fewer.
  remaining, limit, reset = math.min(remaining, tonumber(had)), math.max(limit, tonumber(had_limit)), had_reset
end
redis.call("HSET", KEYS[1], "remaining", string.format("%d", remaining), "limit", string.format("%d", limit))
redis.call("HSET", KEYS[1], "resets_at", reset)
redis.call("EXPIRE", KEYS[1], ARGV[6])
return 1
"""

# A later pause wins, so that two callers cannot shorten one another's. ARGV: until, the text to keep.
_PAUSE = """
local pause = redis.call("GET", KEYS[1])
if pause then
  local till = string.match(pause, "^%S+")
  if till == "inf" or (ARGV[1] ~= "inf" and tonumber(till) >= tonumber(ARGV[1])) then return 0 end
end
redis.call("SET", KEYS[1], ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class Pause:
    """No calls until `until` (UNIX seconds; infinite: until an operator resumes the source), because of `reason`."""

    until: float
    reason: str

    @property
    def indefinite(self) -> bool:
        return math.isinf(self.until)

    @property
    def by_operator(self) -> bool:
        """Whether an operator wanted it: then webhooks get 503 too."""
        return self.reason == _ON_PURPOSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the vendor's own headers say: `remaining` calls of `limit` until `resets_at` (UNIX seconds)."""

    remaining: int
    limit: int
    resets_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """`left`: calls that somebody may still make now, by the window and by what the vendor says.

    `resets_at`: UNIX seconds of the next reset; of a sliding window: when its oldest call leaves it, None without one.
    `spenders`: who made the `used` calls. `learned`, `pause`: None where none holds.
    """

    window: Window
    used: int
    left: int
    resets_at: float | None
    spenders: Mapping[str, int]
    pause: Pause | None
    learned: Learned | None


class Budgets:
    """The budgets of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._take = client.register_script(_TAKE)
        self._pause = client.register_script(_PAUSE)
        self._learn = client.register_script(_LEARN)

    def take(self, source: str, window: Window, now: float, *, spender: str, token: str | None = None) -> None:
        """Spend one call of the window at `now` for `spender`, one of `bridge.quota.windows.SPENDERS`.

        Calls kept for other spenders stay (`bridge.quota.windows.kept`). `token` names the call; a token is never
        charged twice.

        Raises `BudgetExhausted` (asking before its `retry_at` is useless), `VendorThrottled` while the vendor wants a
        pause and `VendorRefused` while the source is stopped.
        """
        since = window.since(now)
        shares = [part for other in kept(spender, window, now).items() for part in other]
        with state_errors():
            answer = cast(
                "list[bytes]",
                self._take(
                    keys=[keys.budget(source), keys.paused(source), keys.learned(source)],
                    args=[
                        *(repr(now), repr(since), window.calls),
                        *(repr(since - _CLOCK_SLACK), math.ceil(2 * window.per_seconds + _CLOCK_SLACK)),
                        *(spender, token or secrets.token_hex(8), *shares),
                    ],
                ),
            )
        if answer[0] == b"paused":
            raise _refusal(source, _pause(answer[1]))
        if answer[0] == b"used_up":
            raise _exhausted(source, window, now, *answer[1:])

    def learn(self, source: str, remaining: int, resets_at: float, now: float, *, limit: int | None = None) -> None:
        """The vendor says: `remaining` calls (of `limit`, where it tells) until `resets_at`, UNIX seconds.

        Until then `take` obeys whichever is smaller, this or the window. Within one window of the vendor a higher
        number is not believed; a reset that is over says nothing.
        """
        if resets_at <= now:
            return
        remaining = max(remaining, 0)
        with state_errors():
            self._learn(
                keys=[keys.learned(source)],
                args=[
                    *(repr(now), remaining, max(remaining, limit or 0), repr(resets_at)),
                    *(_SAME_RESET, math.ceil(resets_at - now + _CLOCK_SLACK)),
                ],
            )

    def check(self, source: str, now: float) -> None:
        """For a call that costs nothing: raises `VendorThrottled` or `VendorRefused` like `take`."""
        pause = self.paused(source, now)
        if pause is not None:
            raise _refusal(source, pause)

    def paused(self, source: str, now: float) -> Pause | None:
        """The pause that holds at `now`, if any."""
        with state_errors():
            stored = cast("bytes | None", self.client.get(keys.paused(source)))
        pause = None if stored is None else _pause(stored)
        return pause if pause is not None and pause.until > now else None

    def pause_until(self, source: str, moment: float, reason: str) -> None:
        """No more calls before `moment`; `math.inf` stops the source until `resume`. An earlier, longer pause stays."""
        until = "inf" if math.isinf(moment) else repr(moment)
        with state_errors():
            self._pause(keys=[keys.paused(source)], args=[until, f"{until} {clip(reason, 200)}"])

    def pause(self, source: str) -> None:
        """An operator's pause, until `resume`: no calls, and webhooks get 503. It takes the place of any other."""
        with state_errors():
            self.client.set(keys.paused(source), f"inf {_ON_PURPOSE}")

    def resume(self, source: str) -> bool:
        """End a pause or a stop; False when there was none."""
        with state_errors():
            return bool(self.client.delete(keys.paused(source)))

    def status(self, source: str, window: Window, now: float) -> BudgetStatus:
        """What is used and left of the window at `now`, and by whom it was used."""
        since = f"({window.since(now)!r}"
        with state_errors():
            made = cast(
                "list[tuple[bytes, float]]",
                self.client.zrangebyscore(keys.budget(source), since, "+inf", withscores=True),
            )
        learned, left = self._learned(source, now), max(0, window.calls - len(made))
        daily = window.resets_at is not None
        return BudgetStatus(
            window=window,
            used=len(made),
            left=left if learned is None else min(left, learned.remaining),
            resets_at=window.frees_at(now, made[0][1] if made else now) if made or daily else None,
            spenders=Counter(member.decode().partition("|")[0] for member, _ in made),
            pause=self.paused(source, now),
            learned=learned,
        )

    def _learned(self, source: str, now: float) -> Learned | None:
        with state_errors():
            found = cast("dict[bytes, bytes]", self.client.hgetall(keys.learned(source)))
        if not found or float(found[b"resets_at"]) <= now:
            return None
        return Learned(
            remaining=int(found[b"remaining"]), limit=int(found[b"limit"]), resets_at=float(found[b"resets_at"])
        )


def paused_by_operator(client: redis.Redis, sources: Sequence[str]) -> frozenset[str]:
    """Those of the sources that an operator has paused, in one round trip. Lets redis-py's errors through."""
    stored = cast("list[bytes | None]", client.mget([keys.paused(name) for name in sources])) if sources else []
    return frozenset(
        name for name, pause in zip(sources, stored, strict=True) if pause is not None and _pause(pause).by_operator
    )


def _pause(stored: bytes) -> Pause:
    until, _, reason = stored.decode().partition(" ")
    return Pause(float(until), reason)


def _refusal(source: str, pause: Pause) -> VendorRefused | VendorThrottled:
    if pause.indefinite:
        return VendorRefused(
            f"source {source} is stopped: {pause.reason}; put it right, then `attempt-bridge sources resume {source}`",
            reason="stopped",
        )
    return VendorThrottled(f"source {source} is paused: {pause.reason}", reason="paused", retry_at=pause.until)


def _exhausted(source: str, window: Window, now: float, left: bytes, oldest: bytes, reset: bytes) -> BudgetExhausted:
    when = window.loosens_at if int(left) > 0 else window.frees_at
    moments = [when(now, float(oldest))] if oldest else []
    moments += [float(reset)] if reset else []
    whose = f"all {window.calls} calls of its budget" if oldest else "the calls that the vendor says it has left"
    return BudgetExhausted(
        f"source {source}: {whose} are spent or kept for others; reading goes on when the window has moved",
        retry_at=max(moments),
    )
