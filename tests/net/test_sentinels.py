"""Which server is the primary, whatever some of the sentinels say."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.sentinel import MasterNotFoundError

from bridge.net.sentinels import Sentinels, primary_problem
from bridge.net.server_group import server_group


class Asked:
    """A sentinel's client with a given answer; `before` is called while it is asked."""

    def __init__(self, answer: dict[str, Any] | Exception, before: Any = lambda: None) -> None:
        self.answer, self.before = answer, before
        self.times = 0

    def sentinel_masters(self) -> dict[str, Any]:
        self.times += 1
        self.before()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def sentinel_get_master_addr_by_name(self, name: str) -> tuple[bytes, int]:
        """As the sentinel that leads a failover, when it has promoted a replica."""
        return PROMOTED[0].encode(), PROMOTED[1]


PROMOTED = ("10.0.0.2", 6380)


def watching(ip: str = "10.0.0.1", *, down: bool = False, replaces: bool = False) -> dict[str, Any]:
    flags = "master,failover_in_progress" if replaces else "master"
    return {"m": {"ip": ip, "port": 6379, "is_sdown": down, "is_odown": False, "flags": flags}}


def over(*asked: Asked) -> Sentinels:
    sentinels = Sentinels(server_group("redis+sentinel://unused.invalid/m"))
    sentinels.sentinels = list(asked)
    return sentinels


AWAY = redis.ConnectionError("connection refused")
DENIED = redis.exceptions.NoPermissionError("no permissions to run the 'sentinel' command")


@pytest.mark.parametrize(
    "first",
    [
        AWAY,
        redis.TimeoutError("late"),
        redis.AuthenticationError("invalid"),
        DENIED,
        {},
        watching("10.0.0.9", down=True),
    ],
    ids=["away", "late", "password", "denied", "unknown name", "down"],
)
def test_the_next_sentinel_is_asked_and_becomes_the_first(first: dict[str, Any] | Exception) -> None:
    useless, useful = Asked(first), Asked(watching())
    sentinels = over(useless, useful)
    assert sentinels.discover_master("m") == ("10.0.0.1", 6379)
    assert sentinels.discover_master("m") == ("10.0.0.1", 6379)
    assert (useless.times, useful.times) == (1, 2)


@pytest.mark.parametrize("down", [False, True], ids=["old primary is up again", "old primary is down"])
def test_a_sentinel_that_has_promoted_a_replica_names_it_while_it_lists_the_old_primary(down: bool) -> None:
    assert over(Asked(watching(down=down, replaces=True))).discover_master("m") == PROMOTED


@pytest.mark.parametrize("down", [False, True])
def test_until_a_replica_is_promoted_the_old_primary_counts_if_it_is_up(
    down: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.net.test_sentinels.PROMOTED", ("10.0.0.1", 6379))
    first, other = Asked(watching(down=down, replaces=True)), Asked(watching("10.0.0.3"))
    assert over(first, other).discover_master("m")[0] == ("10.0.0.3" if down else "10.0.0.1")


def test_no_sentinel_is_forgotten_when_two_threads_ask_at_once() -> None:
    sentinels = over(Asked(AWAY), Asked(watching()), Asked(watching()))
    every = set(sentinels.sentinels)
    # The other thread is done while this one waits for the answer of the second sentinel.
    once = iter([lambda: sentinels.discover_master("m")])
    sentinels.sentinels[1].before = lambda: next(once, lambda: None)()
    assert sentinels.discover_master("m") == ("10.0.0.1", 6379)
    assert set(sentinels.sentinels) == every


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([AWAY, AWAY], "no sentinel answers: connection refused"),
        ([AWAY, {}], 'a sentinel has no primary "m"'),
        ([AWAY, watching(down=True)], 'a sentinel sees no running primary "m"'),
        ([AWAY, DENIED], "a sentinel refuses to answer: no permissions to run the 'sentinel' command"),
    ],
)
def test_without_a_primary_the_error_says_what_a_sentinel_said(answers: list[Any], text: str) -> None:
    with pytest.raises(MasterNotFoundError) as caught:
        over(*map(Asked, answers)).discover_master("m")
    assert str(caught.value) == text
    assert isinstance(caught.value, redis.ConnectionError)


def test_a_missing_primary_is_found_among_the_causes_of_an_error() -> None:
    error = OSError("x")
    error.__cause__ = MasterNotFoundError("a text with everything")
    assert primary_problem(error) == (
        "no sentinel names a running primary. Remedy: attempt-bridge doctor shows what each of them says"
    )
    assert primary_problem(AWAY) is None
