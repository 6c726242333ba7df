"""What the gate's probe asks the state server, and how often."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from bridge.errors import StateUnavailable
from bridge.services import Services
from bridge.web.state_probe import StateProbe

pytestmark = pytest.mark.single_server


def test_memory_is_asked_for_once_a_second_and_in_the_call_after_one_that_failed(
    services: Services, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory: dict[str, Any] = {"redis_version": "7.2.0", "maxmemory_policy": "noeviction", "maxmemory": 0}
    asked, moment = [], 100.0

    def info(*section: str) -> dict[str, Any]:
        asked.append(section)
        return memory

    monkeypatch.setattr(state, "info", info)
    monkeypatch.setattr("bridge.clock.monotonic", lambda: moment)
    probe = StateProbe(state, services.config, services.now)
    probe()
    asked.clear()
    for _ in range(8):
        moment += 0.25
        probe()
    assert asked == [("memory",)] * 2
    memory["maxmemory_policy"] = "allkeys-lru"
    moment += 1.0
    for _ in range(3):
        with pytest.raises(StateUnavailable, match="allkeys-lru"):
            probe()
    assert len(asked) == 5
    memory["maxmemory_policy"] = "noeviction"
    probe()
    probe()
    assert len(asked) == 6


def test_a_server_that_was_away_is_asked_for_its_memory_at_once(
    services: Services, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory: dict[str, Any] = {"redis_version": "7.2.0", "maxmemory_policy": "noeviction", "maxmemory": 0}
    monkeypatch.setattr(state, "info", lambda *section: memory)
    monkeypatch.setattr("bridge.clock.monotonic", lambda: 100.0)
    probe = StateProbe(state, services.config, services.now)
    probe()
    probe()

    def refuse(*names: str) -> None:
        raise redis.ConnectionError

    with monkeypatch.context() as away:
        away.setattr(state, "mget", refuse)
        with pytest.raises(StateUnavailable):
            probe()
    # It has been started again, with other settings.
    memory["maxmemory_policy"] = "allkeys-lru"
    with pytest.raises(StateUnavailable, match="allkeys-lru"):
        probe()
