"""Clients of services without a network: one client for every store, a vendor that nobody may call unless given."""

from __future__ import annotations

from collections.abc import Callable

import redis
import requests

from bridge.services import Clients

__all__ = ["clients_over"]


def _no_vendor() -> requests.Session:
    raise AssertionError("this test calls no vendor")


def clients_over(client: redis.Redis, vendor_session: Callable[[], requests.Session] = _no_vendor) -> Clients:
    """The same client for every store, a fake one in fast tests."""
    return Clients(state=client, blocking=client, vendor_session=vendor_session)
