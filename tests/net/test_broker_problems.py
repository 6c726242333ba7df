"""What an error of a broker's connection means, and what to do."""

from __future__ import annotations

import socket

import amqp
import pytest
import redis
from kombu.exceptions import OperationalError

from bridge.net.broker_problems import broker_problem

_IN_A_PIPELINE = "Command # 1 (LPUSH q {event}) of pipeline caused error: "


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (redis.exceptions.AuthenticationError("invalid"), "it refuses the user name or password"),
        (redis.exceptions.NoPermissionError(_IN_A_PIPELINE + "no permissions"), "its user lacks a permission"),
        (redis.exceptions.OutOfMemoryError(_IN_A_PIPELINE + "memory"), "it has no free memory"),
        (redis.exceptions.ReadOnlyError("x"), "it is a read-only replica"),
        (redis.ResponseError("WRONGTYPE Operation against a key"), "the key of the queue is not a list"),
        (redis.ResponseError(_IN_A_PIPELINE + "WRONGTYPE x"), "the key of the queue is not a list"),
        (redis.ResponseError(_IN_A_PIPELINE + "MISCONF x"), "it cannot write to its disk"),
        (redis.ResponseError(_IN_A_PIPELINE + "no code"), "it refuses the command: unknown reply"),
        (redis.exceptions.InvalidResponse("A"), "it does not speak the Redis protocol"),
        (TimeoutError("timed out"), "it does not answer in time"),
        (socket.gaierror(-2, "unknown"), "its host name does not resolve"),
        (ConnectionResetError(), "it closed the connection"),
        (amqp.exceptions.ConnectionForced("down"), "it closed the connection"),
        (ZeroDivisionError("CANARY"), "ZeroDivisionError"),
    ],
)
def test_an_error_has_a_fact_and_a_remedy_and_quotes_no_event(error: Exception, fact: str) -> None:
    result, remedy = broker_problem(error)
    assert result == fact or result.startswith(fact)
    assert remedy
    assert "LPUSH" not in result
    assert "CANARY" not in result


def test_the_cause_inside_the_librarys_own_error_decides() -> None:
    outer = OperationalError("x")
    outer.__cause__ = ConnectionRefusedError(111, "refused")
    assert broker_problem(outer) == ("connection refused", "start it, or correct host and port of its address")
