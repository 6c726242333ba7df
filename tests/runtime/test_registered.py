"""Commands in the register of processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from bridge import __version__, cli
from bridge.errors import StateUnavailable
from bridge.runtime import registered as module
from bridge.runtime.registered import registered
from bridge.state import keys
from bridge.state.running import RunningProcesses, process_id
from tests.support.waiting import until
from tests.support.watches_api import build


def test_a_command_is_in_the_register_as_long_as_it_runs(
    state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, processes = build(state, tmp_path), RunningProcesses(state)
    monkeypatch.setattr(module, "_REPORT_SECONDS", 0.01)
    with registered(services, "backfill"):
        (running,) = processes.read(services.now())
        assert (running.process, running.version) == (process_id("backfill"), __version__)
        # It says so again and again.
        processes.leave(running.process)
        until(lambda: processes.read(services.now()))
    assert processes.read(services.now()) == []


def test_a_command_does_not_start_beside_an_upgrade(state: redis.Redis, tmp_path: Path) -> None:
    services = build(state, tmp_path)
    state.set(keys.lease("layout"), "web:1", px=30_000)
    with pytest.raises(StateUnavailable, match="another process is upgrading"), registered(services, "backfill"):
        raise AssertionError("it began")
    assert RunningProcesses(state).read(services.now()) == []


def test_a_reload_waits_for_no_command(
    state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    services = build(state, tmp_path)
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    with registered(services, "reconcile"):
        assert cli.run(["config", "reload"]) == 1
        assert "no process of this bridge runs on this state server" in capfd.readouterr().err
        processes = RunningProcesses(state)
        processes.report("web:a:1", services.config.digest, services.now(), services.now())
        processes.answer("web:a:1", 1, "unchanged")
        assert cli.run(["config", "reload"]) == 0
        assert "reconcile" not in capfd.readouterr().out
