"""Reading one stream page by page: the loop that polls, backfills and reconciliations share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bridge.errors import BridgeError, VendorFault, clip
from bridge.sdk.vendor import Page, Poll

__all__ = ["is_about_cursor", "read_pages"]

#: Reasons of faults that would come again at the same cursor: it has expired, or the pages go in a circle.
_CURSOR_REASONS = frozenset({"bad_cursor", "loop", "page_loop"})


def is_about_cursor(problem: BridgeError) -> bool:
    """Whether the cursor is the problem, so that only a round that starts over can reach the end."""
    return problem.reason in _CURSOR_REASONS


def read_pages(
    source_name: str, poll: Poll, fetch: Callable[[str], Page], cursor: str, *, until: float | None = None
) -> Iterator[tuple[Page, str | None]]:
    """The pages from `cursor` to the moment `until` (UNIX seconds), each with the cursor of the next, None at the last.

    Raises what `fetch` raises, and `VendorFault` if the vendor returns a cursor that was read before.
    """
    seen = {cursor}
    while True:
        page = fetch(cursor)
        following = _following(poll, page, cursor, until)
        yield page, following
        if following is None:
            return
        if following in seen:
            raise VendorFault(
                f"source {source_name}: the vendor says there are more pages, but its next cursor was read before: "
                f"{clip(following, 60)}. If it happens again, report it to the vendor",
                reason="page_loop",
            )
        seen.add(following)
        cursor = following


def _following(poll: Poll, page: Page, cursor: str, until: float | None) -> str | None:
    if not page.more:
        return None
    # The vendor reports more pages but gives no cursor: the same page would be read again.
    following = page.cursor or cursor
    return None if until is not None and poll.position(following) > until else following
