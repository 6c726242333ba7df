"""A bridge whose subscription awaits receipts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import redis

from bridge.services import Services
from tests.support.watches_api import build

__all__ = ["TOKEN", "with_receipts"]

TOKEN = "receiver-token"


def with_receipts(state: redis.Redis, folder: Path, broker: str = "x") -> Services:
    """Its subscription `gradebook` awaits receipts; `TOKEN` confirms them."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    token = f"{{name: gradebook, role: receiver, subscription: gradebook, sha256: {digest}}}"
    gradebook = "{transport: celery, task: gradebook.done, queue: gradebook, receipts: {required: true}}"
    access = f"access: {{tokens: [{token}]}}\nsubscriptions: {{gradebook: {gradebook}}}\n"
    return replace(build(state, folder, access=access), broker_url=broker)
