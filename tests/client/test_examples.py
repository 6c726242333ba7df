"""The receivers in `client/examples`, each as its page says, over what the bridge really sends."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import celery
import pytest
import redis
from celery.contrib.testing.worker import start_worker
from kombu import Connection

from attempt_bridge_client import create_tables_sql, queue_receipt
from attempt_bridge_client.samples import Samples
from bridge.delivery.history import History
from tests.support.dispatch import dispatching
from tests.support.http_bridge import served
from tests.support.receipts import TOKEN, with_receipts
from tests.support.servers import Server
from tests.support.waiting import until

EXAMPLES = Path(__file__).parents[2] / "client/examples"
SAMPLES = Samples()
GRADED, REGRADED, VOIDED = (SAMPLES.attempt("thought-industries", what) for what in ("completed", "revised", "voided"))

Load = Callable[..., ModuleType]


class Grades:
    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(create_tables_sql())
            connection.execute("CREATE TABLE grades (attempt text PRIMARY KEY, passed boolean)")

    def rows(self) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute("SELECT passed FROM grades").fetchall()


@pytest.fixture
def grades(tmp_path: Path) -> Grades:
    return Grades(tmp_path / "grades.sqlite3")


@pytest.fixture
def load(grades: Grades, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    loaded: list[Any] = []
    # Celery would give the tasks of one application to every later one in this process.
    monkeypatch.setattr(celery._state, "_on_app_finalizers", set())

    def loading(name: str, **environment: str) -> ModuleType:
        for variable, value in {"DATABASE_URL": f"sqlite:///{grades.path}", **environment}.items():
            monkeypatch.setenv(variable, value)
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        loaded.append(importlib.util.module_from_spec(spec))
        spec.loader.exec_module(loaded[-1])
        return loaded[-1]

    yield loading
    for module in loaded:
        module.engine.dispose()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_its_page_says_how_to_start_it(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert f" {path.stem}" in (ast.get_docstring(tree) or "")
    statements = [
        node for node in ast.walk(tree) if isinstance(node, ast.stmt) and not isinstance(node, ast.ImportFrom)
    ]
    assert len(statements) <= 25


def test_flask_and_fastapi_keep_the_newest_grade_of_signed_requests(load: Load, grades: Grades) -> None:
    client = load("flask_receiver", SECRET=SAMPLES.secret).app.test_client()
    for event, passed in ((REGRADED, 1), (GRADED, 1), (REGRADED, 1)):
        body, headers = SAMPLES.signed(event)
        assert client.post("/events", data=body, headers=headers).status_code == 204
        assert grades.rows() == [(passed,)]
    body, headers = SAMPLES.signed(VOIDED)
    assert asyncio.run(post(load("fastapi_receiver", SECRET=SAMPLES.secret).app, body, headers)) == 204
    assert asyncio.run(post(load("fastapi_receiver", SECRET=SAMPLES.secret).app, b"{}", headers)) == 401
    assert grades.rows() == [(None,)]


async def post(app: Any, body: bytes, headers: dict[str, str]) -> int:
    sent: list[Any] = []
    names = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/events", "query_string": b"", "headers": names}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.long
@pytest.mark.parametrize("way", ["http", "queue"])
def test_a_celery_task_confirms_what_dispatch_has_sent(
    server: Server, state: redis.Redis, tmp_path: Path, load: Load, grades: Grades, way: str
) -> None:
    services = with_receipts(state, tmp_path, server.broker_url)
    with served(services) as url:
        module = load("celery_receiver", BROKER=server.broker_url, BRIDGE_URL=url, BRIDGE_TOKEN=TOKEN)
        app = module.app
        app.conf.task_default_queue, app.conf.worker_hijack_root_logger = "gradebook", False
        if way == "queue":
            type(module.grade).receipt = staticmethod(queue_receipt("gradebook", app=app))
        with dispatching(services), start_worker(app, pool="solo", perform_ping_check=False):
            append(state, GRADED)
            history = History(state)
            settled = until(lambda: history.settled("gradebook", GRADED["id"]), seconds=30)
        app.close()
    assert (settled.outcome, grades.rows()) == ("confirmed", [(1,)])


def test_a_receiver_of_a_queue_leaves_out_tests(server: Server, load: Load, grades: Grades) -> None:
    module = load("kombu_receiver", BROKER=server.broker_url)
    with Connection(server.broker_url) as opened:
        receiver = module.Receiver(opened)
        thread = threading.Thread(target=receiver.run)
        thread.start()
        with Connection(server.broker_url) as other:
            for event in (SAMPLES.notice("bridge.test"), GRADED, GRADED):
                other.Producer().publish(
                    json.dumps(event), routing_key="warehouse", content_type="application/cloudevents+json"
                )
        until(grades.rows, seconds=20)
        receiver.should_stop = True
        thread.join()
    assert grades.rows() == [(1,)]


def test_a_reader_of_the_journal_keeps_the_newest_grade(
    server: Server, state: redis.Redis, load: Load, grades: Grades
) -> None:
    for event in (SAMPLES.notice("attempt.overdue"), GRADED, VOIDED, REGRADED):
        append(state, event)
    module, stop = load("stream_receiver", STATE=server.url), threading.Event()
    thread = threading.Thread(target=module.reader.run, args=(stop,))
    thread.start()
    until(lambda: grades.rows() == [(None,)] and not state.xpending("ab:{0}:journal", "certificates")["pending"])
    stop.set()
    thread.join()
    module.client.close()
    assert grades.rows() == [(None,)]


def append(state: redis.Redis, event: dict[str, Any]) -> None:
    body, _ = SAMPLES.signed(event)
    source = event["source"].rpartition("/")[2]
    fields = {"id": event["id"], "type": event["type"], "source": source, "attempt": event["subject"], "event": body}
    state.xadd("ab:{0}:journal", fields)
