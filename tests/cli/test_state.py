"""`state upgrade`, and commands over a state of another layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from bridge import __version__, cli
from bridge.monitoring.doctor import examine
from bridge.services import Services
from bridge.state import keys
from bridge.state.layout import LAYOUT, LAYOUTS
from bridge.state.running import RunningProcesses
from tests.support.servers import Server
from tests.support.watches_api import build


@pytest.fixture
def services(server: Server, state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    made = build(state, tmp_path)
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: made)
    state.hset(keys.BRIDGE, mapping={"name": made.config.bridge.name, "partitions": "1"})
    state.zadd("ab:retry:crm", {"event": 1.0})
    state.hset("ab:watch:eu", "key", "watch")
    return made


def test_an_upgrade_is_shown_and_made_once(services: Services, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["state", "upgrade", "--dry-run"]) == 0
    shown = capfd.readouterr()
    assert shown.out == "ab:retry:*\t1\nab:watch:*\t1\n"
    assert "2 keys would be renamed for layout 2" in shown.err
    assert services.state.exists("ab:retry:crm")
    assert cli.run(["state", "upgrade"]) == 0
    assert "2 keys renamed: the state has layout 2" in capfd.readouterr().err
    assert services.state.zscore(keys.retry("crm"), "event") == 1.0
    assert cli.run(["state", "upgrade"]) == 0
    assert "nothing to do" in capfd.readouterr().err


def test_an_upgrade_beside_running_processes_or_another_upgrade_is_refused(
    services: Services, capfd: pytest.CaptureFixture[str]
) -> None:
    services.state.set(keys.heartbeat("web"), "1")
    assert cli.run(["state", "upgrade"]) == 1
    named = f"running processes cannot work with layout {LAYOUTS[0]}: web (an earlier version). Remedy: stop them"
    assert named in capfd.readouterr().err
    services.state.delete(keys.heartbeat("web"))
    services.state.set(keys.lease("layout"), "web:other")
    assert cli.run(["state", "upgrade"]) == 1
    assert "another process upgrades the state" in capfd.readouterr().err
    assert services.state.exists("ab:retry:crm")


@pytest.mark.parametrize(
    "command",
    [["watches", "list"], ["backfill", "list"], ["reconcile", "--source", "eu", "--since", "1d"], ["config", "reload"]],
)
def test_commands_beside_the_server_refuse_a_state_that_is_not_upgraded(
    services: Services, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert cli.run(command) == 78
    assert "the state has layout 1, this version works with layouts 2 and 3" in capfd.readouterr().err


def test_doctor_names_a_layout_that_is_not_ours(state: redis.Redis, tmp_path: Path) -> None:
    services = build(state, tmp_path)

    def examined() -> tuple[str, str, str]:
        (finding,) = [each for each in examine(services, outward=False) if each.name == "layout"]
        return finding.status, finding.text, finding.remedy

    assert examined() == ("ok", f"{LAYOUT}; this version works with layouts 2 and {LAYOUT}", "")
    state.hset(keys.BRIDGE, "layout", "2")
    assert examined()[0] == "ok"
    for layout, remedy in ((1, "attempt-bridge state upgrade"), (LAYOUT + 1, "install the version that wrote it")):
        state.hset(keys.BRIDGE, "layout", str(layout))
        status, text, advice = examined()
        assert (status, text) == ("failure", f"{layout}; this version works with layouts 2 and {LAYOUT}")
        assert advice.startswith(remedy)


def entry(services: Services, process: str, **members: object) -> None:
    """A process of some version in the register."""
    now = services.now()
    stored = {"digest": services.config.digest, "loaded_at": now, "seen_at": now, **members}
    services.state.hset(keys.configurations(), f"running:{process}", json.dumps(stored))


def test_the_running_processes_are_shown_with_their_versions_and_doctor_warns_of_several(
    state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    services = build(state, tmp_path)
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)

    def examined() -> tuple[str, str, str]:
        (finding,) = [each for each in examine(services, outward=False) if each.name == "versions"]
        return finding.status, finding.text, finding.remedy

    state.hset(keys.BRIDGE, mapping={"name": services.config.bridge.name, "partitions": "1", "layout": str(LAYOUT)})
    assert examined() == ("ok", __version__, "")
    RunningProcesses(state).report("web:a:1", services.config.digest, services.now(), services.now())
    assert examined() == ("ok", __version__, "")
    entry(services, "worker:b:2", version="9.0.0", layouts=[LAYOUT, LAYOUT + 1])
    entry(services, "beat:b:3")
    status, text, remedy = examined()
    assert (status, remedy.partition(":")[0]) == ("warning", "finish the update")
    assert text == f"{__version__}: web:a:1; 9.0.0: worker:b:2; an earlier version: beat:b:3; this is {__version__}"
    assert cli.run(["state", "show", "-o", "json"]) == 0
    shown = capfd.readouterr()
    assert f"layout {LAYOUT}; this version works with layouts" in shown.err
    assert [(row["process"], row["version"], row["layouts"]) for row in json.loads(shown.out)] == [
        ("beat:b:3", None, []),
        ("web:a:1", __version__, list(LAYOUTS)),
        ("worker:b:2", "9.0.0", [LAYOUT, LAYOUT + 1]),
    ]
