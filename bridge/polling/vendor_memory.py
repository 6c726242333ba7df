"""What a vendor's client remembers between two turns, such as the names of tests. Losing it only costs calls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import redis

from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["LocalMemory", "VendorMemory"]


class VendorMemory:
    """`bridge.sdk.vendor.Memory` of one source, shared by all processes. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, source: str) -> None:
        self._client = client
        self._source = source

    def recall(self, topic: str, names: Sequence[str]) -> Mapping[str, str]:
        """What is remembered under these names."""
        if not names:
            return {}
        with state_errors():
            texts = cast("list[bytes | None]", self._client.hmget(keys.vendor_memory(self._source, topic), list(names)))
        return {name: text.decode() for name, text in zip(names, texts, strict=True) if text is not None}

    def remember(self, topic: str, facts: Mapping[str, str], *, seconds: float) -> None:
        """Add facts to a topic; the whole topic is forgotten `seconds` later."""
        if not facts:
            return
        key = keys.vendor_memory(self._source, topic)
        with state_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.hset(key, items=[text for fact in facts.items() for text in fact])
            pipe.expire(key, math.ceil(seconds))
            pipe.execute()


class LocalMemory:
    """The same for one process, which never forgets: for clients that run outside the bridge."""

    def __init__(self) -> None:
        self._topics: dict[str, dict[str, str]] = {}

    def recall(self, topic: str, names: Sequence[str]) -> Mapping[str, str]:
        """What is remembered under these names."""
        known = self._topics.get(topic, {})
        return {name: known[name] for name in names if name in known}

    def remember(self, topic: str, facts: Mapping[str, str], *, seconds: float) -> None:
        """Add facts to a topic."""
        self._topics.setdefault(topic, {}).update(facts)
