"""Tests a source: logs in at the vendor and reads one page of each stream, without publishing anything."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge import clock
from bridge.config.model import Source
from bridge.errors import BridgeError, StateUnavailable, Unreadable, VendorFault
from bridge.quota.windows import TEST
from bridge.services import Services
from schemas.event import format_time
from workers.polling.source_access import SourceAccess, exclusive_access, never

__all__ = ["Step", "steps"]

_LOG_IN = "log in"
#: The page starts this long ago, seconds.
_SINCE = 86_400.0
#: Some vendors list by period, and the first may be empty: if so, up to this many further pages are read.
_EMPTY_PAGES = 2
#: A worker holds the source for a page or a recheck: how often to try again, and the wait between, seconds.
_TRIES, _WAIT = 20, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the test and its result."""

    #: "log in", or the stream.
    name: str
    #: "ok", "warning" or "failure".
    status: str
    text: str
    #: Status of an attempt, or "quarantined" -> number of records.
    records: dict[str, int] = field(default_factory=dict)
    #: Why records could not be read, each reason once.
    problems: tuple[str, ...] = ()


def steps(services: Services, source: Source) -> Iterator[Step]:
    """The steps, each as it is done; a failure is the last one, unless it is about a single item.

    Raises `StateUnavailable`.
    """
    for _ in range(_TRIES):
        with exclusive_access(services, source, spender=TEST, stopping=never) as access:
            if access is not None:
                yield from _steps(access)
                return
        time.sleep(_WAIT)
    yield Step(name=_LOG_IN, status="failure", text=f"another process reads {source.name}. Remedy: try again later")


def _steps(access: SourceAccess) -> Iterator[Step]:
    vendor, step = access.vendor, _LOG_IN
    try:
        if vendor.probe is not None:
            yield Step(name=step, status="ok", text=vendor.probe(access.client))
        for stream, poll in access.streams.items():
            # A sweep only repeats another stream.
            if poll.sweep is None:
                step = stream
                yield _page_of_item(access, stream) if poll.per is not None else _page(access, stream)
        if vendor.probe is None and not access.streams:
            yield Step(
                name=step,
                status="warning",
                text=f"{vendor.title} has nothing to read without an open attempt",
            )
    except StateUnavailable:
        raise
    except BridgeError as error:
        yield _failure(access, step, error)


def _failure(access: SourceAccess, step: str, error: BridgeError) -> Step:
    return Step(name=step, status="failure", text=str(error).removeprefix(f"source {access.source.name}: "))


def _page_of_item(access: SourceAccess, stream: str) -> Step:
    """The same for one item; the others are read even if this one cannot be."""
    try:
        return _page(access, stream)
    except (VendorFault, Unreadable) as error:
        return _failure(access, stream, error)


def _page(access: SourceAccess, stream: str) -> Step:
    """The step of reading one page, with the outcomes that its records would have."""
    now = access.services.now()
    poll, since = access.streams[stream], now - min(_SINCE, access.vendor.look_back_limit or _SINCE)
    page = poll.fetch(access.client, poll.start(since, None))
    for _ in range(_EMPTY_PAGES):
        if page.records or not page.more or page.cursor is None:
            break
        page = poll.fetch(access.client, page.cursor)
    statuses: Counter[str] = Counter()
    problems: dict[str, None] = {}
    for record in page.records:
        try:
            statuses[access.vendor.normalise(record, now, access.source.options).status] += 1
        except Unreadable as error:
            statuses["quarantined"] += 1
            problems[str(error)] = None
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    text = f"{len(page.records)} records on a page since {format_time(clock.to_datetime(since))}" + (
        f": {counts}" if counts else ""
    )
    if page.more:
        text += "; more pages follow"
    if problems:
        text += f". First unreadable record: {next(iter(problems))}"
    return Step(
        name=stream,
        status="warning" if problems else "ok",
        text=text,
        records=dict(statuses),
        problems=tuple(problems),
    )
