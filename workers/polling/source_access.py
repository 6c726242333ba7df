"""Exclusive access to one source: its lease, the vendor's client, and what a refusal means for other processes."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
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
from bridge.polling.vendor_memory import VendorMemory
from bridge.sdk.vendor import Poll, Vendor, streams
from bridge.services import Services
from bridge.state.lease import Lease

__all__ = ["REFUSALS", "AccessEnded", "SourceAccess", "exclusive_access", "never", "record_refusal"]

#: Longer than the slowest call (20 s, `bridge/polling/vendor_http.py`); renewed before every call. If a process
#: was killed, or could not release the lease because the state server was down, the source waits this long.
_LEASE_SECONDS = 40.0

_log = structlog.get_logger(__name__)


class AccessEnded(BridgeError):
    """This process stops reading from the source: it is stopping, or its lease has expired."""

    default_reason = "cut_short"


#: Errors that end the access to a source, whatever was being read. They are reported, not raised further.
REFUSALS = (BudgetExhausted, VendorThrottled, VendorUnavailable, VendorRefused, AccessEnded)


def never() -> bool:
    """False: the `stopping` of callers that cannot be stopped."""
    return False


@dataclass(frozen=True, kw_only=True)
class SourceAccess:
    """What the holder of a source's lease works with."""

    #: The services of this process.
    services: Services
    #: The source that is read.
    source: Source
    #: Its vendor.
    vendor: Vendor
    #: What the pipeline needs to publish records of the source.
    context: IngestContext
    #: HTTP calls within the budget.
    calls: Calls
    #: The vendor's client, made by `Vendor.connect`.
    client: Any
    #: Whether the process is stopping.
    stopping: Callable[[], bool]

    @cached_property
    def streams(self) -> dict[str, Poll]:
        """What the source polls: stream -> how."""
        return streams(self.vendor, self.source.options)

    def raise_if_stopping(self) -> None:
        """Call it between two steps: raises `AccessEnded` if the process is stopping."""
        if self.stopping():
            raise AccessEnded("this process is stopping")


@contextmanager
def exclusive_access(
    services: Services, source: Source, *, spender: str, stopping: Callable[[], bool]
) -> Iterator[SourceAccess | None]:
    """Access under the source's lease, so that a vendor sees one call at a time; None while another process has it."""
    lease = Lease(services.state, f"poll:{source.name}", secrets.token_hex(16), seconds=_LEASE_SECONDS)
    if not lease.hold():
        yield None
        return

    def renew_lease() -> None:
        services.turns.progress(source.name)
        services.source_clock.follow(source.name, services.now())
        if not lease.hold():
            raise AccessEnded("another process took over while this one was paused")

    vendor = services.vendors[source.vendor]
    services.turns.progress(source.name)
    try:
        with services.clients.vendor_session() as session:
            calls = Calls(
                source,
                services.budgets,
                session,
                services.now,
                spender=spender,
                before=renew_lease,
                memory=VendorMemory(services.state, source.name),
                polled=bool(streams(vendor, source.options)) and source.poll.enabled,
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
        services.turns.end()
        lease.release()


def record_refusal(access: SourceAccess, problem: BridgeError) -> None:
    """Log why reading ended, and pause the source for all processes if the vendor asks for it."""
    name, budgets = access.source.name, access.services.budgets
    log = _log.bind(source=name, reason=problem.reason, problem=str(problem))
    already_paused = problem.reason in ("paused", "stopped")
    if isinstance(problem, VendorRefused):
        if not already_paused:
            budgets.pause_until(name, math.inf, str(problem))
        log.error("source_stopped", remedy=f"fix it, then run `attempt-bridge sources resume {name}`")
    elif isinstance(problem, VendorFault | Unreadable):
        log.error("vendor_fault")
    elif isinstance(problem, BudgetExhausted | AccessEnded):
        log.info("reading_interrupted")
    elif isinstance(problem, Retryable):
        now, retry_at = access.services.now(), problem.retry_at
        if not already_paused:
            if isinstance(problem, VendorThrottled) and (retry_at is None or retry_at <= now):
                retry_at = now + DEFAULT_PAUSE
            # The vendor's number may be anything: only `sources pause` stops a source for longer.
            retry_at = None if retry_at is None else min(retry_at, now + LONGEST_PAUSE)
        if retry_at is not None and not already_paused:
            budgets.pause_until(name, retry_at, str(problem))
        log.warning("vendor_unavailable", retry_at=retry_at)
