"""How many calls a source may still make: a sliding window and a pause, shared by all processes."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from bridge import keys
from bridge.errors import BudgetExhausted, VendorRefused, VendorThrottled, clip
from bridge.journal.publishing import state_errors

__all__ = ["BudgetStatus", "Budgets", "Pause", "paused_on_purpose"]

#: The reason of an operator's pause.
_ON_PURPOSE = "paused by an operator"

# KEYS: calls (sorted set: "<spender>|<token>" by UNIX seconds), pause (string).
# ARGV: now, window seconds, calls allowed, calls kept for other spenders, spender, token ("" = a free call).
# Answer: {"ok"} | {"paused", the pause} | {"used_up", moment when the oldest call leaves the window}
_TAKE = """
local now, window, calls, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local pause = redis.call("GET", KEYS[2])
if pause then
  local till = string.match(pause, "^%S+")
  if till == "inf" or tonumber(till) > now then return {"paused", pause} end
end
if ARGV[6] == "" then return {"ok"} end
local member = ARGV[5] .. "|" .. ARGV[6]
-- The same token again: the client repeats a call whose answer was lost.
if redis.call("ZSCORE", KEYS[1], member) then return {"ok"} end
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", string.format("%.6f", now - window))
local used = redis.call("ZCARD", KEYS[1])
if kept > 0 then
  local mine = ARGV[5] .. "|"
  for _, other in ipairs(redis.call("ZRANGE", KEYS[1], 0, -1)) do
    if string.sub(other, 1, #mine) ~= mine then kept = kept - 1 end
  end
end
if used + math.max(kept, 0) >= calls then
  local oldest = redis.call("ZRANGE", KEYS[1], 0, 0, "WITHSCORES")[2]
  return {"used_up", string.format("%.6f", (oldest and tonumber(oldest) or now) + window)}
end
redis.call("ZADD", KEYS[1], ARGV[1], member)
-- Idle sources leave nothing behind. By the server's clock, hence with a margin.
redis.call("PEXPIRE", KEYS[1], math.ceil(window * 1000) + 60000)
return {"ok"}
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
    def for_good(self) -> bool:
        return math.isinf(self.until)

    @property
    def on_purpose(self) -> bool:
        """Whether an operator wanted it: then webhooks get 503 too."""
        return self.reason == _ON_PURPOSE


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """`resets_at`: UNIX seconds when the oldest call leaves the window, None when nothing was spent."""

    calls: int
    per_seconds: float
    used: int
    left: int
    resets_at: float | None
    spenders: Mapping[str, int]
    pause: Pause | None


class Budgets:
    """The budgets of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._take = client.register_script(_TAKE)
        self._pause = client.register_script(_PAUSE)

    def take(
        self,
        source: str,
        calls: int,
        per_seconds: float,
        now: float,
        *,
        spender: str,
        reserve: int = 0,
        token: str | None = None,
    ) -> None:
        """Spend one of `calls` in the window of `per_seconds` that ends at `now`.

        `spender` says for whom (`poll`, `watch`, `backfill`). `reserve`: calls of each window that stay for the other
        spenders; what they have used already counts. `token` names the call; the same token is never charged twice.

        Raises `BudgetExhausted` (with `retry_at`), `VendorThrottled` while the vendor wants a pause and
        `VendorRefused` while the source is stopped.
        """
        token = token or secrets.token_hex(8)
        # At least one call is always left to ask for, or a small budget would never be spent by anybody.
        kept = min(reserve, calls - 1)
        with state_errors():
            answer = cast(
                "list[bytes]",
                self._take(
                    keys=[keys.budget(source), keys.paused(source)],
                    args=[repr(now), repr(per_seconds), calls, kept, spender, token],
                ),
            )
        if answer[0] == b"paused":
            raise _refusal(source, _pause(answer[1]))
        if answer[0] == b"used_up":
            raise BudgetExhausted(
                f"source {source}: all {calls} calls of its budget are spent or kept for others; "
                "reading goes on when the window has moved",
                retry_at=float(answer[1]),
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

    def status(self, source: str, calls: int, per_seconds: float, now: float) -> BudgetStatus:
        """What is used and left of the window that ends at `now`, and by whom it was used."""
        with state_errors():
            found = cast(
                "list[tuple[bytes, float]]",
                self.client.zrangebyscore(keys.budget(source), f"({now - per_seconds:.6f}", "+inf", withscores=True),
            )
        return BudgetStatus(
            calls=calls,
            per_seconds=per_seconds,
            used=len(found),
            left=max(0, calls - len(found)),
            resets_at=found[0][1] + per_seconds if found else None,
            spenders=Counter(member.decode().partition("|")[0] for member, _ in found),
            pause=self.paused(source, now),
        )


def paused_on_purpose(client: redis.Redis, sources: Sequence[str]) -> frozenset[str]:
    """Those of the sources that an operator has paused, in one round trip. Lets redis-py's errors through."""
    stored = cast("list[bytes | None]", client.mget([keys.paused(name) for name in sources])) if sources else []
    return frozenset(
        name for name, pause in zip(sources, stored, strict=True) if pause is not None and _pause(pause).on_purpose
    )


def _pause(stored: bytes) -> Pause:
    until, _, reason = stored.decode().partition(" ")
    return Pause(float(until), reason)


def _refusal(source: str, pause: Pause) -> VendorRefused | VendorThrottled:
    if pause.for_good:
        return VendorRefused(
            f"source {source} is stopped: {pause.reason}; put it right, then `attempt-bridge sources resume {source}`",
            reason="stopped",
        )
    return VendorThrottled(f"source {source} is paused: {pause.reason}", reason="paused", retry_at=pause.until)
