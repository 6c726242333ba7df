"""Keys that end by themselves, on a state server whose clock was set back."""

from __future__ import annotations

import redis

from bridge.state.expiry import exists_for


def test_a_key_that_ends_later_than_it_can_gets_its_usual_time(state: redis.Redis) -> None:
    state.set("beat", 1, ex=7200)
    assert exists_for(state, "beat", 15.0)
    assert 0 < state.pttl("beat") <= 15_000  # type: ignore[operator]  # not asynchronous
    state.pexpire("beat", 5_000)
    assert exists_for(state, "beat", 15.0)
    assert 0 < state.pttl("beat") <= 5_000  # type: ignore[operator]  # not asynchronous


def test_a_key_that_is_gone_or_never_ends_is_left_as_it_is(state: redis.Redis) -> None:
    assert not exists_for(state, "beat", 15.0)
    state.set("beat", 1)
    assert exists_for(state, "beat", 15.0)
    assert state.pttl("beat") == -1
