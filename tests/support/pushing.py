"""The client for receivers, called without a loop of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from bridge.net.push_client import Answer, Client

#: One for all: some tests look at a failure only and close nothing.
_LOOP = asyncio.new_event_loop()


class BlockingClient:
    """A `Client` whose calls block."""

    def __init__(self, url: str, **options: Any) -> None:
        self._client = Client(url, **options)

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        return _LOOP.run_until_complete(self._client.post(body, headers))

    def close(self) -> None:
        self._client.close()
        # What is closed takes a turn of the loop.
        _LOOP.run_until_complete(asyncio.sleep(0))
