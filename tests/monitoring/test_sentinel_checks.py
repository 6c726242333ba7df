"""What doctor makes of the answers of sentinels: one line for each of them that cannot be used, and the primary."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from bridge.monitoring.sentinel_checks import Answer, judge
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from bridge.net.server_group import server_group

GROUP = server_group("redis+sentinel://s1:1,s2:2,s3:3/mymaster/0")


def primary(ip: str = "10.0.0.1", *, down: bool = False, others: int = 2, quorum: int = 2) -> dict[str, Any]:
    return {"ip": ip, "port": 6379, "is_sdown": down, "num-other-sentinels": others, "quorum": quorum}


def replica(ip: str, *, down: bool = False, link: str = "ok") -> dict[str, Any]:
    return {"ip": ip, "port": 6379, "is_sdown": down, "master-link-status": link}


def answer(number: int, **changes: Any) -> Answer:
    given = {"primaries": {"mymaster": primary()}, "replicas": [replica("10.0.0.2"), replica("10.0.0.3")], **changes}
    return Answer(sentinel=f"s{number}:{number}", **given)


def judged(*answers: Answer) -> dict[str, Finding]:
    return {finding.name: finding for finding in judge(GROUP, answers, "state server")}


AWAY = redis.ConnectionError("Error 111 connecting to s3:3. Connection refused.")
REFUSED = redis.AuthenticationError("invalid username-password pair")


def test_sentinels_that_agree_are_three_facts_without_a_remedy() -> None:
    findings = judged(answer(1), answer(2), answer(3))
    assert {name: (finding.status, finding.text) for name, finding in findings.items()} == {
        "primary of the state server": (OK, "10.0.0.1:6379, named by 3 of 3 sentinels"),
        "sentinels of the state server": (OK, "3 of 3 can be used, 2 are needed for a failover"),
        "replicas of the state server": (OK, "10.0.0.2:6379, 10.0.0.3:6379"),
    }
    assert not any(finding.remedy for finding in findings.values())


@pytest.mark.parametrize(
    ("third", "name", "status", "text"),
    [
        (answer(3, error=AWAY), "sentinel s3:3", WARNING, "ConnectionError"),
        (answer(3, error=redis.TimeoutError("x")), "sentinel s3:3", WARNING, "it does not answer in time"),
        (answer(3, error=REFUSED), "sentinel s3:3", FAILURE, "it refuses the user name or password"),
        (answer(3, primaries={}), "sentinel s3:3", FAILURE, 'has no primary "mymaster", it watches none'),
        (
            answer(3, primaries={"other": primary(), "a": primary()}),
            "sentinel s3:3",
            FAILURE,
            'has no primary "mymaster", it watches "a", "other"',
        ),
        (
            answer(3, primaries={"mymaster": primary("10.0.0.9")}),
            "primary of the state server",
            FAILURE,
            "sentinels disagree: 10.0.0.1:6379 (s1:1, s2:2), 10.0.0.9:6379 (s3:3)",
        ),
        (
            answer(3, primaries={"mymaster": primary(down=True)}),
            "primary of the state server",
            FAILURE,
            "10.0.0.1:6379 is down for 1 of 3 sentinels",
        ),
    ],
)
def test_what_one_sentinel_says_otherwise_is_named(third: Answer, name: str, status: str, text: str) -> None:
    finding = judged(answer(1), answer(2), third)[name]
    assert (finding.status, finding.text) == (status, text)
    assert finding.remedy


def test_without_a_majority_of_sentinels_no_failover_can_be() -> None:
    findings = judged(answer(1), answer(2, error=AWAY), answer(3, error=AWAY))
    finding = findings["sentinels of the state server"]
    assert (finding.status, finding.text) == (FAILURE, "1 of 3 can be used, 2 are needed for a failover")
    assert findings["primary of the state server"].status == OK


def test_an_address_that_leaves_sentinels_out_is_a_warning() -> None:
    known = {"mymaster": primary(others=4)}
    finding = judged(*(answer(number, primaries=known) for number in (1, 2, 3)))["sentinels of the state server"]
    assert (finding.status, finding.text) == (WARNING, "5, but the address names 3")


@pytest.mark.parametrize(
    ("replicas", "status", "text"),
    [
        ([], FAILURE, "none: no server can replace the primary"),
        ([replica("b", down=True)], FAILURE, "b:6379 (away): no server can replace the primary"),
        ([replica("a"), replica("b", link="err")], WARNING, "a:6379, b:6379 (away)"),
    ],
)
def test_replicas_that_are_missing_are_named(replicas: list[Any], status: str, text: str) -> None:
    finding = judged(*(answer(number, replicas=replicas) for number in (1, 2, 3)))["replicas of the state server"]
    assert (finding.status, finding.text) == (status, text)


def test_no_sentinel_that_answers_is_one_line() -> None:
    (finding,) = judged(*(answer(number, error=AWAY) for number in (1, 2, 3))).values()
    assert finding.unreachable
    assert (finding.status, finding.text) == (FAILURE, "none of 3 answers: s1:1: ConnectionError")


def test_sentinels_that_all_refuse_the_password_are_not_called_away() -> None:
    findings = judged(*(answer(number, error=REFUSED) for number in (1, 2, 3)))
    assert sorted(findings) == ["sentinel s1:1", "sentinel s2:2", "sentinel s3:3"]
    assert {finding.remedy for finding in findings.values()} == {
        "give sentinel_password in the address, and sentinel_username if they have users"
    }
