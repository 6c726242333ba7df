"""Databases and frameworks around the client; nothing of the bridge is imported, so that any Python can run this."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import threading
from contextlib import closing

import pytest

from attempt_bridge_client import (
    DUPLICATE,
    NEW,
    ConfigurationError,
    Event,
    EventRejected,
    create_tables_sql,
    idempotent,
    mark,
)
from attempt_bridge_client.samples import Samples

SAMPLES = Samples()


def an_event(what="completed"):
    return Event.from_mapping(SAMPLES.attempt(what=what))


# Databases -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    name = str(tmp_path / "marks.sqlite3")
    with closing(sqlite3.connect(name)) as connection:
        connection.executescript(create_tables_sql())
    return name


def with_connection(path):
    engine = pytest.importorskip("sqlalchemy").create_engine(f"sqlite:///{path}")
    return engine.begin, engine.dispose


def with_session(path):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import sessionmaker

    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    return sessionmaker(engine).begin, engine.dispose


def with_django(path):
    django = pytest.importorskip("django")
    from django.conf import settings

    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": path}})
        django.setup()
    from django.db import connection, transaction

    connection.close()
    connection.settings_dict["NAME"] = path

    @contextlib.contextmanager
    def begin():
        with transaction.atomic():
            yield connection

    return begin, connection.close


@pytest.mark.parametrize("build", [with_connection, with_session, with_django])
def test_mark_and_work_are_kept_or_lost_together(path, build):
    begin, close = build(path)
    fails, got = [True, False], []

    @idempotent(begin)
    def handle(event, connection):
        assert connection is not None
        if fails.pop(0):
            raise RuntimeError
        got.append(event.id)

    with pytest.raises(RuntimeError):
        handle(an_event())
    handle(an_event())
    handle(an_event())
    close()
    assert (got, fails) == ([an_event().id], [])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM attempt_bridge_events").fetchall() == [(an_event().id,)]
        assert connection.execute("SELECT revision FROM attempt_bridge_attempts").fetchall() == [(1,)]


def test_django_outside_of_a_transaction_is_refused(path):
    _, close = with_django(path)
    from django.db import connection

    with pytest.raises(ConfigurationError, match="is in autocommit mode"):
        mark(connection, an_event())
    close()


def test_a_connection_of_django_and_a_scoped_session_are_used_as_they_are(path):
    _, close = with_django(path)
    from django.db import connection, transaction

    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import scoped_session, sessionmaker

    got = []
    with transaction.atomic():
        idempotent(connection)(lambda event, given: got.append((event.id, given)))(an_event())
    close()
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    session = scoped_session(sessionmaker(engine))
    handle = idempotent(session)(lambda event, given: got.append((event.id, given)))
    for what in ("completed", "revised"):
        handle(an_event(what))
        session.commit()
    session.remove()
    engine.dispose()
    assert got == [(an_event().id, connection), (an_event("revised").id, session)]


def test_sqlalchemy_is_refused_without_a_transaction_or_on_another_database(path):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import Session, sessionmaker

    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    with connection, pytest.raises(ConfigurationError, match="is in autocommit mode"):
        mark(connection, an_event())
    with pytest.raises(ConfigurationError, match=r"pass engine\.begin"):
        mark(engine, an_event())
    with pytest.raises(ConfigurationError, match="its begin method"):
        idempotent(sessionmaker(engine))
    with Session(engine) as session:
        assert [mark(session, an_event()) for _ in range(2)] == [NEW, DUPLICATE]
    engine.dispose()


def test_of_two_transactions_on_sqlite_one_handles_the_event(path):
    """The second waits for the file's lock."""
    got, ready = [], threading.Barrier(2, timeout=10)

    def deliver():
        with closing(sqlite3.connect(path, timeout=10)) as connection:
            handle = idempotent(connection)(lambda event, _: got.append(event.id))
            ready.wait()
            with connection:
                handle(an_event())

    threads = [threading.Thread(target=deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [an_event().id]


# HTTP ----------------------------------------------------------------------------------------------------------------


def flask_client(handler, **options):
    from flask import Flask

    from attempt_bridge_client.flask_view import event_view

    app = Flask("receiver")
    app.add_url_rule("/events", view_func=event_view(handler, SAMPLES.secret, **options))
    client = app.test_client()

    def post(body, headers):
        answer = client.post("/events", data=body, headers=headers)
        return answer.status_code, answer.get_data(as_text=True)

    assert client.get("/events").status_code == 405
    return post


def fastapi_client(handler, **options):
    from fastapi import FastAPI

    from attempt_bridge_client.fastapi_router import event_router

    async def handle(event):
        handler(event)

    app = FastAPI()
    app.include_router(event_router(handle, SAMPLES.secret, **options))
    app.include_router(event_router(handler, SAMPLES.secret, "/threaded", **options))
    paths = itertools.cycle(["/events", "/threaded"])

    def post(body, headers):
        return asyncio.run(asgi_post(app, next(paths), body, headers))

    return post


async def asgi_post(app, path, body, headers):
    """The test client of Starlette needs a package of another name with each of its versions."""
    sent = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    with contextlib.suppress(RuntimeError):  # of the handler: raised again after the answer
        await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode()


@pytest.mark.parametrize("build", [flask_client, fastapi_client])
def test_a_view_verifies_handles_and_leaves_out_tests(build):
    pytest.importorskip("flask" if build is flask_client else "fastapi")
    got = []

    def handle(event):
        got.append(event.id)
        if event.type == "attempt.voided":
            raise RuntimeError

    post = build(handle)
    body, headers = SAMPLES.signed(SAMPLES.attempt())
    assert [post(body, headers) for _ in range(2)] == [(204, "")] * 2
    assert post(body + b" ", headers) == (401, "wrong_signature")
    assert post(body, {}) == (401, "missing_header")
    assert post(*SAMPLES.signed({"id": "x", "type": "a"})) == (422, "unreadable")
    assert post(*SAMPLES.signed(SAMPLES.notice("bridge.test"))) == (204, "")
    assert got == [an_event().id] * 2
    assert post(*SAMPLES.signed({**SAMPLES.attempt(), "type": "attempt.voided"}))[0] == 500
    assert build(handle, tests=True)(*SAMPLES.signed(SAMPLES.notice("bridge.test"))) == (204, "")
    assert got[3:] == [SAMPLES.notice("bridge.test")["id"]]


# Celery --------------------------------------------------------------------------------------------------------------


def test_a_task_gets_an_event_and_is_confirmed_after_it_has_run():
    celery = pytest.importorskip("celery")
    from attempt_bridge_client.celery_task import EventTask

    app, got = celery.Celery("gradebook", set_as_current=False), []

    @app.task(base=EventTask, name="gradebook.attempt_completed", receipt=lambda event: got.append("confirmed"))
    def attempt_completed(event):
        if event.type == "attempt.revised":
            raise RuntimeError
        got.append(event.data.attempt.revision)
        return "done"

    assert attempt_completed.acks_late
    assert attempt_completed.apply([SAMPLES.attempt()]).get() == "done"
    assert got == [1, "confirmed"]
    assert attempt_completed.apply([{**SAMPLES.attempt(), "bridgetest": True}]).get() is None
    assert got == [1, "confirmed", "confirmed"]
    for wrong, error in ((SAMPLES.attempt(what="revised"), RuntimeError), ({}, EventRejected)):
        with pytest.raises(error):
            attempt_completed.apply([wrong]).get()
    assert got[3:] == []
    app.close()
