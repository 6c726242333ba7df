"""One holder's turn with one source: the lease, the client, and what a vendor's refusal means for the next turns."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from bridge.config.model import Source
from bridge.errors import (
    BridgeError,
    BudgetExhausted,
    Retryable,
    Unreadable,
    VendorFault,
    VendorRefused,
    VendorThrottled,
    VendorUnavailable,
)
from bridge.ingest.context import IngestContext
from bridge.polling.vendor_http import DEFAULT_PAUSE, LONGEST_PAUSE, Calls
from bridge.sdk.vendor import Vendor
from bridge.services import Services
from bridge.state.lease import Lease

__all__ = ["REFUSALS", "AccessEnded", "SourceAccess", "exclusive_access", "never", "record_refusal"]

#: Longer than the slowest call (3 + 20 + 10 s, `bridge/polling/vendor_http.py`); renewed before every call. A holder
#: that was killed, or could not release it because the state was away, keeps the source waiting this long.
_LEASE_SECONDS = 40.0

_log = structlog.get_logger(__name__)


class AccessEnded(BridgeError):
    """A turn ends early for a reason of our own."""

    default_reason = "cut_short"


#: What ends a turn with a source, whatever was being read; it is reported, not raised further.
REFUSALS = (BudgetExhausted, VendorThrottled, VendorUnavailable, VendorRefused, AccessEnded)


def never() -> bool:
    """For callers that cannot be asked to stop."""
    return False


@dataclass(frozen=True, kw_only=True)
class SourceAccess:
    """What the holder of a source's lease works with."""

    services: Services
    source: Source
    vendor: Vendor
    context: IngestContext
    calls: Calls
    client: Any
    stopping: Callable[[], bool]

    def raise_if_stopping(self) -> None:
        """Between two steps: raises `CutShort` when the process stops."""
        if self.stopping():
            raise AccessEnded("this process is stopping")


@contextmanager
def exclusive_access(
    services: Services, source: Source, *, spender: str, stopping: Callable[[], bool]
) -> Iterator[SourceAccess | None]:
    """The source's lease, so that a vendor sees one call in flight; None while somebody else has it."""
    lease = Lease(services.state, f"poll:{source.name}", secrets.token_hex(16), seconds=_LEASE_SECONDS)
    if not lease.hold():
        yield None
        return

    def still_ours() -> None:
        if not lease.hold():
            raise AccessEnded("another process took over after a long pause of this one")

    vendor = services.vendors[source.vendor]
    try:
        with services.clients.vendor_session() as session:
            calls = Calls(
                source,
                services.budgets,
                session,
                services.now,
                spender=spender,
                before=still_ours,
            )
            yield SourceAccess(
                services=services,
                source=source,
                vendor=vendor,
                context=services.ingest_context(source.name),
                calls=calls,
                client=vendor.connect(source, calls),
                stopping=stopping,
            )
    finally:
        lease.release()


def record_refusal(access: SourceAccess, problem: BridgeError) -> None:
    """Log why a turn ended, and keep for all processes what holds longer than this turn."""
    name, budgets = access.source.name, access.services.budgets
    log = _log.bind(source=name, reason=problem.reason, problem=str(problem))
    ours = problem.reason in ("paused", "stopped")  # the budget's own answer: kept already
    if isinstance(problem, VendorRefused):
        if not ours:
            budgets.pause_until(name, math.inf, str(problem))
        log.error("source_stopped", remedy=f"put it right, then `attempt-bridge sources resume {name}`")
    elif isinstance(problem, VendorFault | Unreadable):
        log.error("vendor_fault")
    elif isinstance(problem, BudgetExhausted | AccessEnded):
        log.info("turn_cut_short")
    elif isinstance(problem, Retryable):
        now, retry_at = access.services.now(), problem.retry_at
        if not ours:
            if isinstance(problem, VendorThrottled) and (retry_at is None or retry_at <= now):
                retry_at = now + DEFAULT_PAUSE
            # A vendor's own number may be anything; only `sources pause` stops a source for longer.
            retry_at = None if retry_at is None else min(retry_at, now + LONGEST_PAUSE)
        if retry_at is not None and not ours:
            budgets.pause_until(name, retry_at, str(problem))
        log.warning("vendor_unavailable", retry_at=retry_at)
