"""A bridge whose subscription awaits receipts."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import redis

from bridge.delivery.store import Delivery
from bridge.services import Services
from bridge.state import keys
from tests.support.watches_api import build

__all__ = ["TOKEN", "await_receipts", "with_receipts"]

TOKEN = "receiver-token"


def with_receipts(state: redis.Redis, folder: Path, broker: str = "x") -> Services:
    """Its subscription `gradebook` awaits receipts; `TOKEN` confirms them."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    token = f"{{name: gradebook, role: receiver, subscription: gradebook, sha256: {digest}}}"
    gradebook = "{transport: celery, task: gradebook.done, queue: gradebook, receipts: {required: true}}"
    access = f"access: {{tokens: [{token}]}}\nsubscriptions: {{gradebook: {gradebook}}}\n"
    return replace(build(state, folder, access=access), broker_url=broker)


def await_receipts(state: redis.Redis, *event_ids: str) -> None:
    """These events were handed over to `gradebook`, and their receipts are awaited."""
    for event_id in event_ids:
        delivery = Delivery(
            id=event_id, type="attempt.completed", source="s", attempt="a", entry="1-0", awaiting_receipt=True
        )
        state.hset(keys.deliveries("gradebook"), event_id, delivery.to_json())
        state.zadd(keys.retry("gradebook"), {event_id: time.time() + 3600})
