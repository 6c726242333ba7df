"""What a source polls: the streams of its vendor, some of which exist once for each item that the operator lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.sdk.vendor import Page, Poll, Vendor

__all__ = ["check_polls", "streams", "whole_streams"]


def streams(vendor: Vendor, options: Mapping[str, Any]) -> dict[str, Poll]:
    """What a source with these options polls: stream -> how, in the order of the vendor and of the operator's list.

    A stream with `per` becomes one stream for each listed item, and none if no item is listed; the `fetch` of each no
    longer takes the item.
    """
    polls: dict[str, Poll] = {}
    for name, poll in vendor.polls.items():
        if poll.per is None:
            polls[name] = poll
            continue
        for item in options.get(poll.per) or ():
            polls[f"{name}:{item}"] = replace(poll, fetch=_fetch_of(poll.fetch, item))
    return polls


def whole_streams(polls: Mapping[str, Poll]) -> list[str]:
    """The names of the `polls` that together list everything: a sweep lists again what another stream lists."""
    return [name for name, poll in polls.items() if poll.sweep is None] or list(polls)


def check_polls(vendor: Vendor) -> None:
    """Raise `ValueError` for a stream that could not be polled: its name, or the option that lists its items."""
    for name, poll in vendor.polls.items():
        # The former layout of keys (`bridge/state/layout.py`) has the rounds of all streams under `history`.
        if not name or ":" in name or name == "history":
            raise ValueError(
                f'{vendor.name}: "{name}" is not the name of a stream. Remedy: choose another one, without ":"'
            )
        option = vendor.options.get(poll.per) if poll.per is not None else None
        if poll.per is not None and (option is None or option.kind != "list"):
            raise ValueError(
                f'{vendor.name}: polls["{name}"].per: "{poll.per}" is not an option of kind list. Remedy: declare it'
            )


def _fetch_of(fetch: Callable[..., Page], item: str) -> Callable[[Any, str | None], Page]:
    return lambda client, cursor: fetch(client, cursor, item)
