"""Checks of the sentinels of a state or broker: what each reports about the primary. Pure, except `ask`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from bridge.errors import clip
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from bridge.net.broker_problems import broker_problem
from bridge.net.sentinels import Sentinels
from bridge.net.server_group import ServerGroup

__all__ = ["Answer", "ask", "judge"]

_LOG_IN = "give sentinel_password in the address, and sentinel_username if they have users"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one sentinel reports."""

    #: host:port
    sentinel: str
    error: redis.RedisError | None = None
    #: Name of each primary that it watches -> SENTINEL MASTERS about it.
    primaries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: SENTINEL REPLICAS about the primary that was asked for.
    replicas: Sequence[Mapping[str, Any]] = ()


def ask(group: ServerGroup) -> list[Answer]:
    """The answers of all sentinels, in the order of the address."""
    clients = Sentinels(group).sentinels
    return [
        _ask(client, f"{host}:{port}", group.master) for client, (host, port) in zip(clients, group.hosts, strict=True)
    ]


def _ask(client: redis.Redis, sentinel: str, master: str) -> Answer:
    with client:
        try:
            primaries = cast("dict[str, dict[str, Any]]", client.sentinel_masters())
            replicas = client.sentinel_slaves(master) if master in primaries else ()
        except redis.RedisError as error:
            return Answer(sentinel=sentinel, error=error)
    return Answer(sentinel=sentinel, primaries=primaries, replicas=replicas)


def judge(group: ServerGroup, answers: Sequence[Answer], label: str) -> Iterator[Finding]:
    """The findings; `label`: whose sentinels they are."""
    answered = [answer for answer in answers if answer.error is None]
    if not answered and all(_is_away(answer) for answer in answers):
        text, remedy = broker_problem(answers[0].error)
        text = f"none of {len(answers)} answers: {answers[0].sentinel}: {text}"
        yield Finding(f"sentinels of the {label}", FAILURE, text, remedy, unreachable=True)
        return
    for answer in answers:
        yield from _unusable(answer, group.master)
    knowing = [answer for answer in answered if group.master in answer.primaries]
    if knowing:
        yield _primary(group, knowing, f"primary of the {label}")
        yield _majority(group, knowing, f"sentinels of the {label}")
        yield _replicas(knowing[0], f"replicas of the {label}")


def _is_away(answer: Answer) -> bool:
    """Whether it did not answer; one that refuses the password did."""
    return isinstance(answer.error, redis.ConnectionError | redis.TimeoutError) and not isinstance(
        answer.error, redis.AuthenticationError
    )


def _unusable(answer: Answer, master: str) -> Iterator[Finding]:
    name = f"sentinel {answer.sentinel}"
    if answer.error is not None:
        text, remedy = broker_problem(answer.error)
        if _is_away(answer):
            yield Finding(name, WARNING, text, remedy)
        else:
            yield Finding(name, FAILURE, text, _LOG_IN if "password" in text else remedy)
    elif master not in answer.primaries:
        known = ", ".join(f'"{clip(each, 40)}"' for each in sorted(answer.primaries)) or "none"
        yield Finding(
            name, FAILURE, f'has no primary "{master}", it watches {known}', "correct the name in the address"
        )


def _primary(group: ServerGroup, knowing: Sequence[Answer], name: str) -> Finding:
    named: dict[str, list[str]] = {}
    for answer in knowing:
        state = answer.primaries[group.master]
        named.setdefault(f"{state['ip']}:{state['port']}", []).append(answer.sentinel)
    if len(named) > 1:
        text = ", ".join(f"{primary} ({', '.join(by)})" for primary, by in named.items())
        remedy = "wait for the end of a failover; if it stays so, SENTINEL RESET at the sentinel that is wrong"
        return Finding(name, FAILURE, f"sentinels disagree: {text}", remedy)
    (primary,) = named
    down = [each for each in knowing if each.primaries[group.master]["is_sdown"]]
    if down:
        remedy = "wait for the failover; if none begins, start the server, or sentinels and replicas that are missing"
        return Finding(name, FAILURE, f"{primary} is down for {len(down)} of {len(group.hosts)} sentinels", remedy)
    return Finding(name, OK, f"{primary}, named by {len(knowing)} of {len(group.hosts)} sentinels")


def _majority(group: ServerGroup, knowing: Sequence[Answer], name: str) -> Finding:
    """Whether enough sentinels can be reached to agree on a failover and to lead it."""
    state = knowing[0].primaries[group.master]
    total, quorum = int(state["num-other-sentinels"]) + 1, int(state["quorum"])
    needed = max(total // 2 + 1, quorum)
    text = f"{len(knowing)} of {total} can be used, {needed} are needed for a failover"
    if len(group.hosts) < total:
        return Finding(name, WARNING, f"{total}, but the address names {len(group.hosts)}", "name all of them")
    if len(knowing) < needed:
        return Finding(name, FAILURE, text, "start the sentinels that are missing")
    return Finding(name, OK, text)


def _replicas(answer: Answer, name: str) -> Finding:
    running, away = list[str](), list[str]()
    for state in answer.replicas:
        is_running = not state["is_sdown"] and state.get("master-link-status") == "ok"
        (running if is_running else away).append(f"{state['ip']}:{state['port']}")
    text = ", ".join([*running, *(f"{each} (away)" for each in away)]) or "none"
    if not running:
        return Finding(name, FAILURE, f"{text}: no server can replace the primary", "start a replica")
    if away:
        return Finding(name, WARNING, text, "start those that are away, or SENTINEL RESET if they are gone permanently")
    return Finding(name, OK, text)
