"""Walking back through streams: which commands are sent, because some cost as much as the whole stream."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from bridge.journal import search as searching
from bridge.journal.paging import read_stream
from bridge.journal.search import Place, search, walk_back


def walk(state: redis.Redis, names: list[str], **bounds: Any) -> list[str]:
    return [str(place) for place, _, _ in walk_back(state, names, lambda entry, fields, stream: entry, **bounds)]


@pytest.fixture
def ends(state: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where each XREVRANGE begins. Two streams: 1000-0 to 1009-0, and 1005-0 alone."""
    sent: list[str] = []
    plain: Any = redis.Redis.xrevrange

    def noted(this: Any, name: str, newest: str, *more: Any, **options: Any) -> Any:
        sent.append(newest)
        return plain(this, name, newest, *more, **options)

    monkeypatch.setattr(redis.Redis, "xrevrange", noted)
    for number in range(10):
        state.xadd("a", {"n": number}, id=f"{1000 + number}-0")
    state.xadd("b", {"n": 5}, id="1005-0")
    return sent


def test_what_lies_before_the_oldest_entry_is_not_asked_for(state: redis.Redis, ends: list[str]) -> None:
    # The server would go through the whole stream from its end.
    assert walk(state, ["a", "b", "none"], until=0.9) == []
    assert walk(state, ["a", "b"], after=Place(1000, 0, 0)) == []
    assert walk(state, ["a"], after=Place(990, 3, 1)) == []
    assert ends == []
    assert walk(state, ["a", "b"], until=1.004) == [f"100{n}-0/0" for n in (4, 3, 2, 1, 0)]
    assert ends == ["1004"]
    assert walk(state, ["a"], until=1.0) == ["1000-0/0"]


def test_a_last_page_that_is_full_ends_the_walk(
    state: redis.Redis, ends: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_PAGE", 5)
    assert len(walk(state, ["a"], first=5)) == 10
    assert ends == ["+", "(1005-0"]


def test_pages_of_streams_with_equal_ids_join_without_a_gap(state: redis.Redis, ends: list[str]) -> None:
    everything = walk(state, ["a", "b"])
    assert everything[4:6] == ["1005-0/1", "1005-0/0"]
    for cut, text in enumerate(everything):
        assert walk(state, ["a", "b"], after=Place.parse(text)) == everything[cut + 1 :]


def test_a_search_says_where_it_ended() -> None:
    steps = [(Place(2000 - number, 0, 0), 10, number) for number in range(6)]
    page = search(steps, lambda number: number % 2 == 1, 2)
    assert (page.rows, page.position, page.searched_until) == ([1, 3], Place(1997, 0, 0), None)
    page = search(steps, lambda number: False, 2, max_entries=4)
    assert (page.rows, page.position, page.searched_until) == ([], Place(1997, 0, 0), 1.997)
    page = search(steps, lambda number: True, 9, max_found_bytes=20)
    assert (page.rows, page.position, page.searched_until) == ([0, 1], Place(1999, 0, 0), None)
    assert search(steps, lambda number: False, 2).position is None


@pytest.mark.parametrize(
    "text", ["", "1-0", "1/0", "1-0/", "-1-0/0", "1-0/x", "1-0/0/0", f"{10**30}-0/0", "\u0661-0/0"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the place of an entry"):
        Place.parse(text)


def test_older_readers_ask_for_nothing_before_the_oldest_entry_either(state: redis.Redis, ends: list[str]) -> None:
    assert list(read_stream(state, "a", last="999", page=5)) == []
    assert ends == []
    assert len(list(read_stream(state, "a", last="1004", page=9))) == 5
    assert ends == ["1004"]
