"""Finding a request by its id, which holds the time of receipt."""

from __future__ import annotations

import redis

from bridge.journal.requests import RequestStore
from bridge.state import keys

_SECOND = 1_790_000_000


def store(state: redis.Redis, milliseconds: int, number: int) -> str:
    """A request that was stored 20 ms after it was received; its id."""
    ident = f"{milliseconds:012x}"
    ident = f"{ident[:8]}-{ident[8:]}-7000-8000-{number:012x}"
    fields = {"id": ident, "source": "eu", "at": f"{milliseconds / 1000:.3f}", "outcome": "published", "reason": ""}
    fields |= {"headers": "{}", "body": "{}", "attempts": ""}
    state.xadd(keys.requests(0), fields, id=f"{milliseconds + 20}-{number}")  # type: ignore[arg-type]
    return ident


def test_a_request_is_found_by_its_id_among_thousands_that_came_in_the_same_seconds(state: redis.Redis) -> None:
    # 1,500 within 3 s, which is more than one search reads.
    idents = [store(state, _SECOND * 1000 + number * 2, number) for number in range(1500)]
    requests = RequestStore(state)
    assert [request.id for ident in idents[::250] for request in requests.look_up(ident)] == idents[::250]
    assert requests.look_up(idents[0][:-1] + "f") == ()
