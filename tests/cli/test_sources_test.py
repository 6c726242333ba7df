"""`sources test` on the command line: one line a step, JSON, exit codes. Every vendor: tests/contract."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from werkzeug.serving import make_server

from bridge import cli, clock
from bridge.state import keys
from bridge.state.lease import Lease
from bridge.vendors.classmarker.simulator import Simulator


@pytest.fixture
def account(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulated account on a port of its own, configured as the source `eu` of an empty state."""
    simulator = Simulator(3, clock.now)
    api = make_server("127.0.0.1", 0, simulator.wsgi, threaded=True)
    thread = threading.Thread(target=api.serve_forever, args=(0.02,))
    thread.start()
    (tmp_path / "bridge.yaml").write_text(f"""demo: true
bridge: {{name: acme, state: "{server.url}", broker: "{server.broker_url}"}}
sources:
  eu:
    vendor: classmarker
    base_url: http://127.0.0.1:{api.server_port}
    credentials: {{api_key: {simulator.api_key}, api_secret: {simulator.api_secret}, webhook_secret: phrase}}
""")
    monkeypatch.chdir(tmp_path)
    yield simulator
    api.shutdown()
    thread.join()
    api.server_close()


def test_one_line_a_step_and_nothing_is_published(account, state: redis.Redis, capfd) -> None:
    account.finish(channel="link", requires_grading=False)
    account.finish(channel="link", requires_grading=True)

    assert cli.run(["sources", "test", "eu"]) == 0
    out, err = capfd.readouterr()

    groups, links = out.splitlines()
    assert groups.startswith("[+] groups: 0 records on a page since ")
    assert links.startswith("[+] links: 2 records on a page since ")
    assert links.endswith(": 2 completed")
    assert err == ""
    assert not state.exists(keys.journal(0))
    assert state.zcard(keys.budget("eu")) == account.counts()["api_calls"] == 2


def test_as_json(account, capfd) -> None:
    account.finish(channel="group", requires_grading=False)

    assert cli.run(["sources", "test", "eu", "-o", "json"]) == 0
    told = json.loads(capfd.readouterr().out)

    assert (told["source"], told["ok"]) == ("eu", True)
    assert [(step["name"], step["status"], step["records"]) for step in told["steps"]] == [
        ("groups", "ok", {"completed": 1}),
        ("links", "ok", {}),
    ]


def test_what_cannot_be_read_is_counted_and_told(account, capfd) -> None:
    account.finish(channel="link", requires_grading=False, status="zz")

    assert cli.run(["sources", "test", "eu"]) == 0
    line = capfd.readouterr().out.splitlines()[1]

    assert line.startswith("[!] links: 1 records on a page since ")
    assert ": 1 quarantined. First unreadable record: result.status is" in line


def test_a_refusal_is_one_line_and_exit_code_1(account, capfd) -> None:
    account.api_secret = "another"

    assert cli.run(["sources", "test", "eu"]) == 1
    out, _ = capfd.readouterr()

    (line,) = out.splitlines()
    assert line.startswith("[-] groups: ")
    assert "apiKeyAuthFail" in line


def test_it_does_not_read_beside_another_process(account, state: redis.Redis, capfd, monkeypatch) -> None:
    monkeypatch.setattr("workers.polling.source_test._WAIT", 0.0)
    Lease(state, "poll:eu", "another", seconds=60).hold()

    assert cli.run(["sources", "test", "eu"]) == 1
    assert "another process reads eu" in capfd.readouterr().out
    assert account.counts()["api_calls"] == 0


def test_an_unknown_source_is_named(account, capfd) -> None:
    assert cli.run(["sources", "test", "uk"]) == 2
    assert 'unknown source: "uk"' in capfd.readouterr().err
