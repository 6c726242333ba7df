"""The gate in front of the state server."""

from __future__ import annotations

import pytest
import redis

from bridge.errors import StateUnavailable
from bridge.web.gate import Gate
from tests.support.waiting import until


class Server:
    """Answers a ping, or raises `failure`."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.asked = 0

    def ping(self) -> None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def server() -> Server:
    return Server()


def failed(cause: Exception) -> StateUnavailable:
    error = StateUnavailable("state server: it failed")
    error.__cause__ = cause
    return error


def test_an_open_gate_lets_requests_pass(server: Server) -> None:
    gate = Gate(server.ping)
    gate.probe()
    gate.check()
    assert gate.failure is None


@pytest.mark.parametrize(
    "failure",
    [redis.TimeoutError("Timeout"), redis.ConnectionError("refused"), redis.exceptions.BusyLoadingError("loading")],
)
def test_a_failed_probe_closes_it_and_the_next_good_one_opens_it(server: Server, failure: Exception) -> None:
    gate = Gate(server.ping)
    server.failure = failure
    gate.probe()
    with pytest.raises(StateUnavailable, match=type(failure).__name__) as caught:
        gate.check()
    assert caught.value.reason == "gate_closed"
    server.failure = None
    gate.probe()
    gate.check()


@pytest.mark.parametrize("cause", [redis.TimeoutError("Timeout reading"), redis.ConnectionError("refused")])
def test_a_request_that_got_no_answer_closes_it(server: Server, cause: Exception) -> None:
    gate = Gate(server.ping)
    gate.report(failed(cause))
    with pytest.raises(StateUnavailable):
        gate.check()


@pytest.mark.parametrize(
    "cause",
    [redis.exceptions.OutOfMemoryError("OOM"), redis.exceptions.MaxConnectionsError("too many"), ValueError("x")],
)
def test_an_answered_error_or_a_fault_of_our_own_leaves_it_open(server: Server, cause: Exception) -> None:
    gate = Gate(server.ping)
    gate.report(failed(cause))
    gate.check()


def test_its_own_refusal_does_not_close_it_again(server: Server) -> None:
    gate = Gate(server.ping)
    server.failure = redis.TimeoutError("Timeout")
    gate.probe()
    with pytest.raises(StateUnavailable) as caught:
        gate.check()
    server.failure = None
    gate.probe()
    gate.report(caught.value)
    gate.check()


def test_the_probe_runs_until_it_is_stopped(server: Server) -> None:
    gate = Gate(server.ping, every=0.001)
    gate.start()
    try:
        server.failure = redis.ConnectionError("gone")
        until(lambda: gate.failure)
        server.failure = None
        until(lambda: gate.failure is None)
    finally:
        gate.stop()


def test_a_fault_in_the_probe_closes_the_gate_and_does_not_end_it(server: Server) -> None:
    gate = Gate(server.ping, every=0.001)
    server.failure = ValueError("CANARY")
    gate.start()
    try:
        assert gate.failure == "ValueError"
        server.failure = None
        until(lambda: gate.failure is None)
    finally:
        gate.stop()
