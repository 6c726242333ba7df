"""`partitions`: the same beside the server and with `--url`; every refusal is one line and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from bridge.cli.exit_codes import DONE, FAILED, UNAVAILABLE, USAGE
from bridge.services import Services
from bridge.state import keys
from tests.support.cli import Run, runner
from tests.support.http_bridge import served
from tests.support.journal import make_submission, outcomes
from tests.support.watches_api import TOKENS, access_of, build
from workers.dispatch.repartition import RepartitionRunner


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """A bridge whose processes serve four partitions, over a state of one."""
    made = build(state, tmp_path, access=access_of(TOKENS))
    made = replace(made, config=replace(made.config, bridge=replace(made.config.bridge, partitions=4)))
    state.hset(keys.BRIDGE, mapping={"name": made.config.bridge.name, "partitions": "1", "layout": "3"})
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: made)
    monkeypatch.delenv("ATTEMPT_BRIDGE_TOKEN", raising=False)
    return made


@pytest.fixture
def run(services: Services, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


@pytest.fixture
def remote(services: Services) -> Iterator[tuple[str, ...]]:
    with served(services) as address:
        yield ("--url", address, "--token", TOKENS["operator"])


def test_a_change_is_shown_stopped_and_refused_alike_beside_the_server_and_remotely(
    run: Run, remote: tuple[str, ...], services: Services
) -> None:
    outcomes(services.journal, *(make_submission(f"link:{number}") for number in range(50)))

    def alike(*line: str) -> tuple[int, str, str]:
        here = run("partitions", *line)
        assert here == run(*remote, "partitions", *line), line
        return here

    assert alike("show")[0] == alike("show", "-o", "json")[0] == DONE
    code, out, err = alike("repartition", "3")
    assert (code, out, "50 are remembered" in err, "add --yes" in err) == (DONE, "", True, True)
    for line, word in (
        (("repartition", "5", "--yes"), "Set bridge.partitions: 5"),
        (("repartition", "1", "--yes"), "over 1 partitions already"),
        (("stop",), "nothing is moving"),
        (("resume",), "nothing is stopped"),
    ):
        code, out, err = alike(*line)
        assert (code, out, err.count("\n"), word in err) == (FAILED, "", 1, True)
    assert alike("repartition", "0", "--yes")[0] == alike("repartition", "x")[0] == USAGE
    assert run(*remote, "partitions", "repartition", "3", "--yes", "--no-wait")[0] == DONE
    assert alike("repartition", "2", "--yes")[0] == FAILED
    assert run("partitions", "stop") == (DONE, "", "stopped. Continue with attempt-bridge partitions resume\n")
    assert alike("stop")[0] == FAILED
    assert run(*remote, "partitions", "resume", "--no-wait")[0] == DONE
    runner = RepartitionRunner(services, "one")
    while runner.step(services.now) == 0.0:
        pass
    assert '"state": "done"' in alike("show", "-o", "json")[1]


def test_a_change_that_no_process_moves_on_is_69(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.cli.partitions._POLL_SECONDS", 0.01)
    monkeypatch.setattr("bridge.cli.partitions._SILENT_SECONDS", 0.02)
    code, _, err = run("partitions", "repartition", "3", "--yes")
    assert (code, "no dispatch process runs it. Start attempt-bridge dispatch" in err) == (UNAVAILABLE, True)
