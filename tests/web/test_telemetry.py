"""Which web process exports what is the same from all of them."""

from __future__ import annotations

import pytest
import redis

from bridge.state.lease import Lease
from bridge.web.telemetry import Leader


def leader(state: redis.Redis, token: str) -> Leader:
    return Leader(Lease(state, "telemetry", token, seconds=150.0))


def test_one_process_leads_until_it_resigns_or_is_silent_for_too_long(state: redis.Redis) -> None:
    first, other = leader(state, "one"), leader(state, "other")
    assert [first(), other(), first()] == [True, False, True]
    other.resign()
    assert [first(), other()] == [True, False]
    first.resign()
    assert [other(), first()] == [True, False]


def test_without_the_state_server_it_stays_as_it_was(state: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = leader(state, "one"), leader(state, "other")
    assert [first(), other()] == [True, False]
    monkeypatch.setattr(redis.Redis, "execute_command", _refuse)
    assert [first(), other()] == [True, False]
    first.resign()


def _refuse(*_args: object, **_options: object) -> None:
    raise redis.ConnectionError("away")
