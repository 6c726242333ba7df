"""Which edited files are taken while the bridge runs, what a lost terminal means, and what processes say about it."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import redis
import yaml

from bridge.errors import ConfigError
from bridge.runtime.reload import ReloadRequests, edited, try_edited
from bridge.services import Services, load
from bridge.state import keys
from bridge.state.running import LOADED, RESTARTING, UNCHANGED, RunningProcesses, process_id
from tests.support.waiting import until

CONTENT = {
    "demo": True,
    "bridge": {"name": "acme", "public_url": "http://127.0.0.1:8080", "data_dir": "data"},
    "subscriptions": {"grades": {"transport": "kombu", "queue": "first"}},
}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    (tmp_path / "bridge.yaml").write_text(yaml.safe_dump(CONTENT))
    return load(config_path=tmp_path / "bridge.yaml")


def edit(services: Services, **bridge: object) -> None:
    services.config.path.write_text(yaml.safe_dump({**CONTENT, "bridge": {**CONTENT["bridge"], **bridge}}))  # type: ignore[dict-item]


def test_an_unchanged_file_is_not_loaded_and_an_edited_one_is(services: Services) -> None:
    assert edited(services) is None
    edit(services, public_url="http://127.0.0.1:8081")
    new = edited(services)
    assert new is not None
    assert new.config.bridge.public_url == "http://127.0.0.1:8081"
    assert new.config.digest != services.config.digest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "other"),
        ("partitions", 4),
        ("data_dir", "elsewhere"),
        ("state", "redis://127.0.0.1:1/0"),
        ("broker", "redis://127.0.0.1:1/1"),
    ],
)
def test_what_cannot_change_while_the_bridge_runs_is_refused_by_name(
    services: Services, name: str, value: object
) -> None:
    edit(services, **({"broker": "redis://127.0.0.1:1/1"} if name == "state" else {}), **{name: value})
    with pytest.raises(ConfigError, match=rf"bridge\.{name}: cannot change while the bridge runs\. Remedy: restore"):
        edited(services)
    assert try_edited(services)[1] is None


def test_a_secret_in_a_file_of_its_own_is_a_change(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + "QUJD" * 10)
    content = {
        **CONTENT,
        "demo": False,
        "subscriptions": {
            "crm": {"transport": "http", "url": "https://crm.example.org/events", "secrets": [{"file": "secret"}]}
        },
    }
    (tmp_path / "bridge.yaml").write_text(yaml.safe_dump(content))
    services = load(config_path=tmp_path / "bridge.yaml")
    assert edited(services) is None
    secret.write_text("whsec_" + "REVG" * 10)
    assert edited(services) is not None


def test_the_text_that_was_checked_is_loaded_whatever_the_file_says_now(services: Services) -> None:
    reading, writing = os.pipe()
    os.write(writing, services.config.text.encode())
    os.close(writing)
    services.config.path.write_text("bridge: [")
    again = load(replace(services.settings, config_descriptor=reading))
    assert again.config == services.config


def test_a_request_is_passed_on_once_and_only_what_answers_now_is_listed(
    services: Services, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    moments = iter(range(0, 1000, 10))
    monkeypatch.setattr("bridge.clock.monotonic", lambda: float(next(moments)))
    web, processes = ReloadRequests(services, "web", os.getppid()), RunningProcesses(state)
    processes.request()
    web(state)
    web(state)
    assert sent == []
    assert processes.request() == 2
    web(state)
    web(state)
    assert sent == [(os.getppid(), signal.SIGHUP)]
    now = services.now()
    (running,) = processes.read(now)
    assert (running.name, running.digest, running.request, running.outcome) == (
        "web",
        services.config.digest,
        1,
        LOADED,
    )
    for outcome, seconds, listed in ((UNCHANGED, 20, []), (RESTARTING, 20, ["web"]), (RESTARTING, 200, [])):
        processes.answer(process_id("web", os.getppid()), 2, outcome)
        assert [each.name for each in processes.read(now + seconds)] == listed
    assert state.hlen(keys.configurations()) == 3
    processes.read(now + 7200)
    assert state.hkeys(keys.configurations()) == [b"request"]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (LOADED, UNCHANGED, LOADED),
        (RESTARTING, UNCHANGED, RESTARTING),
        (UNCHANGED, RESTARTING, RESTARTING),
        (RESTARTING, LOADED, LOADED),
        ("has a problem", UNCHANGED, UNCHANGED),
    ],
)
def test_a_request_that_comes_twice_keeps_the_answer_of_the_one_that_loaded_the_file(
    services: Services, state: redis.Redis, first: str, second: str, kept: str
) -> None:
    processes, now = RunningProcesses(state), services.now()
    processes.report("web:host:1", "abc", now, now)
    for request in (1, 2):
        processes.answer("web:host:1", request, UNCHANGED)
        assert processes.read(now)[0].outcome == UNCHANGED
        processes.answer("web:host:1", request, first)
        processes.answer("web:host:1", request, second)
        assert (processes.read(now)[0].request, processes.read(now)[0].outcome) == (request, kept)


def test_what_another_version_stored_about_a_process_is_read(services: Services, state: redis.Redis) -> None:
    stored = {"digest": "abc", "loaded_at": 1.0, "seen_at": services.now(), "of_a_later_version": True}
    state.hset(keys.configurations(), "running:beat:host:1", json.dumps(stored))
    (running,) = RunningProcesses(state).read(services.now())
    assert running.digest == "abc"


_WAIT_FOR_SIGHUP = """
import signal, sys, time
from bridge.runtime.reload import Hangups
hangups = Hangups()
print("listening", flush=True)
while not hangups.requested:
    time.sleep(0.01)
open(sys.argv[1], "w").write("reload")
"""


@pytest.mark.usefixtures("starts_processes")
@pytest.mark.parametrize("closed", [False, True], ids=["terminal is there", "terminal is closed"])
def test_sighup_means_reload_unless_the_terminal_was_closed(tmp_path: Path, closed: bool) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", _WAIT_FOR_SIGHUP, str(tmp_path / "outcome")])
    assert until(lambda: b"listening" in os.read(terminal, 100))
    if closed:
        os.close(terminal)
    else:
        os.kill(pid, signal.SIGHUP)
    _, status = os.waitpid(pid, 0)
    assert (os.WIFSIGNALED(status), (tmp_path / "outcome").exists()) == (closed, not closed)
