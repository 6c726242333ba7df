"""Each example stays a page long and knows nothing of ours; the journal reader may start before its server."""

from __future__ import annotations

import ast
import importlib.util
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.contrib.testing.worker import start_worker
from flask import Flask

from bridge import clock
from bridge.delivery.history import History
from tests.support.dispatch import Receiver, at, dispatching, even, event, lane, publish, scheduled
from tests.support.http_bridge import served
from tests.support.receipts import TOKEN, with_receipts
from tests.support.servers import Server
from tests.support.waiting import until

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_at_most_40_lines_of_code(path: Path) -> None:
    text = path.read_text()
    docstring = ast.parse(text).body[0].end_lineno or 0
    assert 20 <= sum(1 for line in text.splitlines()[docstring:] if line.strip()) <= 40


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_imports_nothing_of_ours(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text()))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    nodes = ast.walk(ast.parse(path.read_text()))
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in imported} & {"bridge", "workers", "schemas"}


@pytest.mark.usefixtures("starts_processes")
def test_the_journal_reader_waits_for_a_server_that_is_not_up_yet_and_passes_what_was_erased(
    own_server: Server,
) -> None:
    client = own_server.client()
    _, event_id = publish(client, 1, 2)
    client.xgroup_create("ab:{0}:journal", "certificates", id="0")
    ((_, ((erased, _),)),) = client.xreadgroup("certificates", "one", {"ab:{0}:journal": ">"}, count=1)
    client.xdel("ab:{0}:journal", erased)
    own_server.kill9()
    script = next(path for path in EXAMPLES if path.stem == "stream_subscriber")
    reader = subprocess.Popen(
        [sys.executable, str(script), "--state", own_server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            reader.wait(2)
        own_server.start()
        assert reader.stdout is not None
        assert json.loads(reader.stdout.readline())["received"] == event_id
    finally:
        reader.kill()
        reader.communicate()


@pytest.fixture
def confirms(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The decorator for `gradebook`."""
    monkeypatch.setenv("BRIDGE_TOKEN", TOKEN)
    script = next(path for path in EXAMPLES if path.stem == "confirm_receipts")
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.confirms("gradebook")


@pytest.mark.long
def test_a_decorated_task_of_a_celery_worker_confirms_what_dispatch_has_sent(
    server: Server, state: redis.Redis, tmp_path: Path, confirms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = with_receipts(state, tmp_path, server.broker_url)
    app = Celery("gradebook", broker=server.broker_url, set_as_current=False)
    app.conf.task_default_queue, app.conf.worker_hijack_root_logger = "gradebook", False
    got: list[str] = []

    @app.task(name="gradebook.done")
    @confirms
    def done(event: Any) -> None:
        got.append(event["id"])

    with served(services) as url, dispatching(services), start_worker(app, pool="solo", perform_ping_check=False):
        monkeypatch.setenv("BRIDGE_URL", url)
        (ident,) = publish(state, 1)
        history = History(state)
        settled = until(lambda: history.settled("gradebook", ident))
    assert (settled.outcome, got) == ("confirmed", [ident])
    app.close()


def test_a_decorated_view_confirms_after_it_has_answered_well_and_only_then(
    state: redis.Redis, tmp_path: Path, confirms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, web, answers = with_receipts(state, tmp_path), Flask("receiver"), [("no", 500), "ok"]
    publish(state, 1)
    lane(state, Receiver(), subscription=services.config.subscriptions["gradebook"]).step(at(clock.now()), even)
    left: list[int] = []

    @web.post("/")
    @confirms
    def receive() -> Any:
        left.append(len(scheduled(state, "gradebook")))
        return answers.pop(0)

    client = web.test_client()
    with served(services) as url:
        monkeypatch.setenv("BRIDGE_URL", url)
        assert client.post("/", json=event(1)).status_code == 500
        answer = client.post("/", json=event(1))
    assert (answer.status_code, answer.text, left) == (200, "ok", [1, 1])
    assert scheduled(state, "gradebook") == []


def test_a_decorated_function_that_fails_confirms_nothing_and_one_that_cannot_confirm_has_done_its_work(
    confirms: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BRIDGE_URL", "http://127.0.0.1:1")

    @confirms
    def task(given: Any, *, fails: bool) -> str:
        if fails:
            raise RuntimeError
        return "done"

    with caplog.at_level(logging.WARNING):
        with pytest.raises(RuntimeError):
            task(event(1), fails=True)
        assert task({**event(1), "type": "bridge.test"}, fails=False) == "done"
        assert caplog.messages == []
        assert task(event(1), fails=False) == "done"
    (message,) = caplog.messages
    assert message.startswith(f"{event(1)['id']} not confirmed: ")
