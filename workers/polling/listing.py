"""Reading a vendor's list in the background: a page at a time, after the polls and rechecks that are due."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeVar, cast

from bridge.config.model import Source
from bridge.errors import (
    BridgeError,
    BudgetExhausted,
    ConfigError,
    Unreadable,
    VendorFault,
    VendorThrottled,
    VendorUnavailable,
)
from bridge.polling.vendor_http import Calls
from bridge.polling.vendor_memory import VendorMemory
from bridge.sdk.vendor import Page, Poll, Vendor, VendorCalls, streams
from bridge.services import Services
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.expiry import exists_for
from workers.polling.paging import is_about_cursor, read_pages
from workers.polling.source_access import (
    REFUSALS,
    AccessEnded,
    SourceAccess,
    exclusive_access,
    never,
    record_refusal,
)
from workers.polling.traced_reading import TracedPages

__all__ = ["Interrupted", "Listing", "refuse_paused"]

_Result = TypeVar("_Result")

#: Interval at which a waiting reader checks whether it can go on, seconds.
_CHECK_INTERVAL = 1.0
#: Longest wait for polls and rechecks that are due, before one page is read anyway, seconds.
_LONGEST_YIELD = 90.0
#: The source is left free for a poll that is due within this many seconds.
_YIELD_BEFORE_POLL = 5.0
#: Waits after the vendor did not answer, seconds; after the last one the reader gives up.
_RETRY_WAITS = (10.0, 30.0, 120.0, 600.0)
#: Waits after one page could not be read although others could, seconds.
_PAGE_WAITS = (10.0, 60.0)


class Interrupted(BridgeError):
    """The reader was asked to end; what was read is kept."""

    default_reason = "interrupted"


class _CurrentCalls:
    """`VendorCalls` that passes everything on to the calls of the current access."""

    calls: Calls

    def __init__(self, memory: VendorMemory) -> None:
        #: Clients read it when they are created, before the first access.
        self.memory = memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self.calls, name)


def refuse_paused(source: Source) -> None:
    """Raise `ConfigError` for a source that is paused in bridge.yaml: it makes no calls at all."""
    if source.paused:
        raise ConfigError(
            f"sources.{source.name}.paused: true: the source makes no calls. Remedy: remove it, or set it to false"
        )


@dataclass(kw_only=True)
class Listing:
    """A background reader of one source. It holds the source's lease for one call or one page, then yields.

    Creating one raises `ConfigError` for a source that is paused in bridge.yaml.
    """

    #: The services of this process.
    services: Services
    #: The source that is read.
    source: Source
    #: What the calls are spent for, one of `bridge.quota.windows.SPENDERS`.
    spender: str
    #: Called before every page and every second of waiting; raises to end the reading.
    check: Callable[[], None]
    #: Waits a number of seconds.
    sleep: Callable[[float], object]
    #: Called every second with why nothing is read and until when (UNIX seconds).
    waiting: Callable[[str, float], None] = lambda why, until: None
    #: Maximum pages a minute; None: no limit.
    rate: float | None = None
    #: Calls spent so far.
    calls: int = 0
    #: The traces of its pages.
    traced: TracedPages = field(init=False)
    _next_page: float = field(default=0.0, init=False)
    _current: _CurrentCalls = field(init=False)
    _client: Any = field(init=False)

    def __post_init__(self) -> None:
        refuse_paused(self.source)
        self.traced = TracedPages(self.spender, self.source)
        self._current = _CurrentCalls(VendorMemory(self.services.state, self.source.name))
        # One client for all accesses: some clients spend calls on reading their catalogue or the vendor's clock.
        self._client = self.vendor.connect(self.source, cast("VendorCalls", self._current))

    @property
    def vendor(self) -> Vendor:
        """The vendor of the source."""
        return self.services.vendors[self.source.vendor]

    @cached_property
    def streams(self) -> dict[str, Poll]:
        """What the source polls: stream -> how."""
        return streams(self.vendor, self.source.options)

    def pages(self, stream: str, cursor: str, until: float) -> Iterator[tuple[Page, str | None]]:
        """The pages from `cursor` to `until` (UNIX seconds), each with the cursor of the next, None at the last.

        Raises what `call` raises, and `VendorFault` if the vendor returns a cursor that was read before, or after the
        last page if parts of the list could not be read.
        """
        poll, unread = self.streams[stream], dict[str, str]()
        fetch = partial(self._page, stream, cursor)
        for page, following in read_pages(self.source.name, poll, fetch, cursor, until=until):
            unread = dict(page.unread)
            yield page, following
        if unread:
            (part, why), more = next(iter(unread.items())), len(unread) - 1
            others = f" and {more} more" if more else ""
            raise VendorFault(
                f"source {self.source.name}: everything was read except {part}{others}: {why}", reason="part_unread"
            )

    def _page(self, stream: str, first: str, cursor: str) -> Page:
        """Read one page. After the first, wait out a fault of the vendor: otherwise reading would start over."""
        waits = _PAGE_WAITS if cursor != first else ()
        for seconds in waits:
            try:
                return self.call(partial(self._fetch, stream, cursor))
            except (VendorFault, Unreadable) as problem:
                if is_about_cursor(problem):
                    raise
                why = str(problem)
            self._wait(why, self.services.now() + seconds)
        return self.call(partial(self._fetch, stream, cursor))

    def _fetch(self, stream: str, cursor: str, access: SourceAccess) -> Page:
        poll = self.streams[stream]
        return self.traced.read(stream, lambda: poll.fetch(access.client, cursor))

    def call(self, use: Callable[[SourceAccess], _Result]) -> _Result:
        """The result of `use` with access to the source; waits and retries while budget, vendor or lease refuse.

        Raises what `check` raises, `VendorRefused`, `VendorFault`, `Unreadable`, `StateUnavailable`, and
        `VendorUnavailable` if the vendor did not answer several times in a row.
        """
        failures = 0
        while True:
            self._yield_to_live_traffic()
            self._keep_rate()
            try:
                return self._call_once(use)
            except VendorUnavailable as problem:
                if failures == len(_RETRY_WAITS):
                    raise
                why, until = str(problem), max(problem.retry_at or 0.0, self.services.now() + _RETRY_WAITS[failures])
                failures += 1
            except (BudgetExhausted, VendorThrottled) as problem:
                why, until = str(problem), problem.retry_at or self.services.now()
            except AccessEnded as problem:
                why, until = str(problem), self.services.now()
            self._wait(why, max(until, self.services.now() + _CHECK_INTERVAL))

    def _call_once(self, use: Callable[[SourceAccess], _Result]) -> _Result:
        self.services.sync_clock()
        with exclusive_access(self.services, self.source, spender=self.spender, stopping=never) as access:
            if access is None:
                raise AccessEnded(f"another process is reading from {self.source.name}")
            self._current.calls = access.calls
            try:
                return use(replace(access, client=self._client))
            except (*REFUSALS, VendorFault, Unreadable) as problem:
                record_refusal(access, problem)
                raise
            finally:
                self.calls += access.calls.made

    def _yield_to_live_traffic(self) -> None:
        """Wait, up to a limit, while polls or rechecks are due and a worker runs that can do them."""
        self.check()
        waits = 0
        while waits < _LONGEST_YIELD / _CHECK_INTERVAL and self._live_traffic_is_due(now := self.services.now()):
            self._wait(f"polls and rechecks of {self.source.name} are due and go first", now + _CHECK_INTERVAL)
            waits += 1

    def _live_traffic_is_due(self, now: float) -> bool:
        name, config = self.source.name, self.source.poll
        with state_errors():
            if not exists_for(self.services.state, keys.heartbeat("worker")):
                return False
        if self.vendor.recheck is not None and self.services.watches.due_count(name, now):
            return True
        if not config.enabled:
            return False
        polls = self.streams
        positions = self.services.cursors.positions(name, polls)
        for stream, poll in polls.items():
            started = positions[stream].started
            every = max(config.every, poll.every or 0.0)
            if started is None or now - started >= every - min(_YIELD_BEFORE_POLL, every / 2):
                return True
        return False

    def _keep_rate(self) -> None:
        if self.rate is None:
            return
        now, between = self.services.now(), 60.0 / self.rate
        if now < self._next_page:
            # At most one interval: the clock may have been set back.
            self._wait(f"limited to {self.rate:g} pages a minute", min(self._next_page, now + between))
        self._next_page = self.services.now() + between

    def _wait(self, why: str, until: float) -> None:
        last = self.services.now()
        while (left := until - last) > 0:
            self.check()
            self.waiting(why, until)
            self.sleep(min(left, _CHECK_INTERVAL))
            now = self.services.now()
            self.services.source_clock.follow(self.source.name, now)
            # If the clock is set back, the end of the wait moves with it.
            until, last = until - max(0.0, last - now), now
