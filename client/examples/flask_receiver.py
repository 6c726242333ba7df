"""Signed HTTP, with Flask.

    DATABASE_URL=sqlite:///grades.sqlite3 SECRET=whsec_... flask --app flask_receiver run

In bridge.yaml: {transport: http, url: "https://.../events", secrets: ["${SECRET}"]}
Needs the extras flask, sqlalchemy.
"""

import os

from flask import Flask
from sqlalchemy import create_engine, text

from attempt_bridge_client import idempotent
from attempt_bridge_client.flask_view import event_view

engine = create_engine(os.environ["DATABASE_URL"])
SAVE = text(
    "INSERT INTO grades (attempt, passed) VALUES (:attempt, :passed) "
    "ON CONFLICT (attempt) DO UPDATE SET passed = excluded.passed"
)


@idempotent(engine.begin)
def grade(event, connection):
    attempt, result = event.data.attempt, event.data.result
    passed = result.passed if attempt.status == "completed" else None
    connection.execute(SAVE, {"attempt": attempt.id, "passed": passed})


app = Flask(__name__)
app.add_url_rule("/events", view_func=event_view(grade, os.environ["SECRET"]))
