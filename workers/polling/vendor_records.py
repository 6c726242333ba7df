"""What a reconciliation reads: the vendor's lists, or one attempt after the other where the vendor lists nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from bridge.errors import Unreadable, VendorFault, clip
from bridge.ingest.intake import unreadable_on_error
from bridge.polling.reconciliation import Reconciliation
from bridge.sdk.vendor import Pointer, Record, Resume, whole_streams
from workers.polling.listing import Listing
from workers.polling.source_access import SourceAccess

__all__ = ["listed_records", "rechecked_records"]


def listed_records(listing: Listing, result: Reconciliation) -> Iterator[Sequence[Record]]:
    """The records of every page in the period of `result`, which gets the items that could not be read.

    Raises what `Listing.pages` raises: for one item of several only if none could be read.
    """
    polls = listing.streams
    names = whole_streams(polls)
    for stream in names:
        try:
            for page, _ in listing.pages(stream, polls[stream].start(result.since, result.until), result.until):
                yield page.records
        except (VendorFault, Unreadable) as problem:
            result.unread[stream] = clip(problem, 300)
            if polls[stream].per is None or len(result.unread) == len(names):
                raise


def rechecked_records(listing: Listing, result: Reconciliation) -> Iterator[Sequence[Record]]:
    """The records of every expectation and watch, and of whatever their rechecks point to."""
    name, services = listing.source.name, listing.services
    expected = services.expectations.list(name)
    references = {item.key: item.reference for item in expected if item.deadline >= result.since}
    references |= {watch.key: watch.reference for watch in services.watches.list(name)}
    queue = deque(references.values())
    while queue:
        try:
            answer = listing.call(partial(_recheck, queue.popleft()))
        except (Unreadable, VendorFault):
            # The problem concerns only this reference.
            result.unreadable += 1
            continue
        new = {item.key: item.reference for item in answer if isinstance(item, Pointer) and item.key not in references}
        references |= new
        queue.extend(new.values())
        yield [item for item in answer if isinstance(item, Record)]


def _recheck(reference: Mapping[str, str], access: SourceAccess) -> Sequence[Record | Pointer | Resume]:
    with unreadable_on_error(access.source.name, "recheck"):
        return () if access.vendor.recheck is None else access.vendor.recheck(access.client, reference)
