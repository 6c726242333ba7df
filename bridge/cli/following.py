"""Following the live stream from a command: reconnects automatically, and continues where it was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.cli.api_client import Api, CallFailed
from bridge.cli.exit_codes import UNAVAILABLE
from bridge.cli.output import say

__all__ = ["follow"]

_PATH = "events/stream"
_LEAST_SECONDS, _MOST_SECONDS = 1.0, 30.0


def follow(api: Api, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of events as they are published, without end; a lost connection neither loses nor repeats any.

    Reports on stderr what is not sent. Raises `CallFailed` if the first connection fails, or a later one is refused.
    """
    last: str | None = None
    wait = _LEAST_SECONDS
    while True:
        reason = "the stream ended"
        try:
            for message in api.follow(_PATH, query, last=last):
                last, wait = message.id or last, _LEAST_SECONDS
                if message.event == "bridge.dropped":
                    reason = str(message.data["reason"])
                elif message.event == "bridge.gap":
                    period = f"between {message.data['after']} and {message.data['until']}"
                    say(f"warning: events {period} are not shown. Remedy: attempt-bridge events list --since")
                elif message.event:
                    yield message.data
        except CallFailed as error:
            # Before the first message it is the command's own failure.
            if last is None or error.exit_code != UNAVAILABLE:
                raise
            reason = error.message
        say(f"stale: {reason}; reconnecting in {wait:g} s")
        time.sleep(wait)
        wait = min(wait * 2, _MOST_SECONDS)
