"""Reading a vendor's list in the background: a page at a time, behind everybody else who reads from the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, cast

from bridge.config.model import Source
from bridge.errors import (
    BridgeError,
    BudgetExhausted,
    Unreadable,
    VendorFault,
    VendorThrottled,
    VendorUnavailable,
    clip,
)
from bridge.polling.vendor_http import Calls
from bridge.sdk.vendor import Page, Poll, Vendor, VendorCalls
from bridge.services import Services
from bridge.state import keys
from bridge.state.errors import state_errors
from workers.polling.source_access import REFUSALS, AccessEnded, SourceAccess, exclusive_access, never, record_refusal

__all__ = ["Interrupted", "Listing", "whole_streams"]

_Found = TypeVar("_Found")

#: Looked again so often whether the reason to wait is gone, seconds.
_LOOK_EVERY = 1.0
#: Longest time to stand aside for a poll or a look that is due before one page is read all the same, seconds.
_LONGEST_ASIDE = 90.0
#: A poll that is due within so many seconds finds the source free.
_ASIDE_BEFORE = 5.0
#: Waits after the vendor did not answer, seconds; after the last one it is given up.
_AFTER_SILENCE = (10.0, 30.0, 120.0, 600.0)


class Interrupted(BridgeError):
    """Somebody wants the reader to end; what was read stays read."""

    default_reason = "interrupted"


class _Line:
    """`VendorCalls` of whichever turn is on."""

    calls: Calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self.calls, name)


def whole_streams(vendor: Vendor) -> list[str]:
    """The streams that list everything between them: a sweep lists again what another stream lists."""
    return [name for name, poll in vendor.polls.items() if poll.sweep is None] or list(vendor.polls)


@dataclass(kw_only=True)
class Listing:
    """A slow reader of one source. It holds the source's lease for one call or one page, then lets others through.

    `check` is called before every page and every second of waiting, and raises to end it all. `waiting(why, until)`:
    told each second why nothing is read, and until when (UNIX seconds). `rate`: pages a minute at
    most. `calls`: how many were made so far.
    """

    services: Services
    source: Source
    spender: str
    check: Callable[[], None]
    sleep: Callable[[float], object]
    waiting: Callable[[str, float], None] = lambda why, until: None
    rate: float | None = None
    calls: int = 0
    _next_page: float = field(default=0.0, init=False)
    _line: _Line = field(init=False)
    _client: Any = field(init=False)

    def __post_init__(self) -> None:
        self._line = _Line()
        # One for all turns: some vendors' clients learn their catalogue or the vendor's clock, which costs calls.
        self._client = self.vendor.connect(self.source, cast("VendorCalls", self._line))

    @property
    def vendor(self) -> Vendor:
        return self.services.vendors[self.source.vendor]

    def pages(self, stream: str, cursor: str, until: float) -> Iterator[tuple[Page, str | None]]:
        """The pages from `cursor` to the moment `until` (UNIX seconds), each with the cursor of the next one, None at
        the last. Raises what `turn` raises, and `VendorFault` where the vendor leads in a circle."""
        poll, seen, here = self.vendor.polls[stream], {cursor}, cursor
        while True:
            page = self.access(partial(_fetch, poll, here))
            after = _after(poll, page, here, until)
            yield page, after
            if after is None:
                return
            if after in seen:
                raise VendorFault(
                    f"source {self.source.name}: the vendor says there are more pages but leads back to a cursor of "
                    f"this period ({clip(after, 60)}); tell the vendor, then try again",
                    reason="page_loop",
                )
            seen.add(after)
            here = after

    def access(self, use: Callable[[SourceAccess], _Found]) -> _Found:
        """What `use` makes of one turn with the source, tried again while budget, vendor or lease refuse it.

        Raises what `check` raises, `VendorRefused`, `VendorFault`, `Unreadable`, `StateUnavailable`, and
        `VendorUnavailable` when the vendor was silent several times in a row.
        """
        silences = 0
        while True:
            self._stand_aside()
            self._keep_pace()
            try:
                return self._take(use)
            except VendorUnavailable as problem:
                if silences == len(_AFTER_SILENCE):
                    raise
                why, until = str(problem), problem.retry_at or self.services.now() + _AFTER_SILENCE[silences]
                silences += 1
            except (BudgetExhausted, VendorThrottled) as problem:
                why, until = str(problem), problem.retry_at or self.services.now()
            except AccessEnded as problem:
                why, until = str(problem), self.services.now()
            self._wait(why, max(until, self.services.now() + _LOOK_EVERY))

    def _take(self, use: Callable[[SourceAccess], _Found]) -> _Found:
        with exclusive_access(self.services, self.source, spender=self.spender, stopping=never) as access:
            if access is None:
                raise AccessEnded(f"somebody else reads from {self.source.name} at this moment")
            self._line.calls = access.calls
            try:
                return use(replace(access, client=self._client))
            except (*REFUSALS, VendorFault, Unreadable) as problem:
                record_refusal(access, problem)
                raise
            finally:
                self.calls += access.calls.made

    def _stand_aside(self) -> None:
        """Wait while looks or polls are due that a worker is there to do, but not for ever."""
        self.check()
        longest = self.services.now() + _LONGEST_ASIDE
        while (now := self.services.now()) < longest and self._others_are_due(now):
            self._wait(f"looks and polls of {self.source.name} that are due go first", now + _LOOK_EVERY)

    def _others_are_due(self, now: float) -> bool:
        name, poll = self.source.name, self.source.poll
        with state_errors():
            if self.source.paused or not self.services.state.exists(keys.heartbeat("worker")):
                return False
        if self.vendor.recheck is not None and self.services.watches.due_count(name, now):
            return True
        if not poll.enabled:
            return False
        for stream, one in self.vendor.polls.items():
            started = self.services.cursors.position(name, stream).started
            every = max(poll.every, one.every or 0.0)
            if started is None or now - started >= every - min(_ASIDE_BEFORE, every / 2):
                return True
        return False

    def _keep_pace(self) -> None:
        if self.rate is None:
            return
        if self._next_page > self.services.now():
            self._wait(f"at most {self.rate:g} pages a minute", self._next_page)
        self._next_page = self.services.now() + 60.0 / self.rate

    def _wait(self, why: str, until: float) -> None:
        while (left := until - self.services.now()) > 0:
            self.check()
            self.waiting(why, until)
            self.sleep(min(left, _LOOK_EVERY))


def _fetch(poll: Poll, cursor: str, access: SourceAccess) -> Page:
    return poll.fetch(access.client, cursor)


def _after(poll: Poll, page: Page, cursor: str, until: float) -> str | None:
    """Where to go on behind a page that was read from `cursor`; None: the period is read."""
    if not page.more:
        return None
    # More pages without a cursor is a circle of one.
    after = page.cursor or cursor
    return None if poll.position(after) > until else after
