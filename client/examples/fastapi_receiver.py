"""Signed HTTP, with FastAPI.

    DATABASE_URL=sqlite:///grades.sqlite3 SECRET=whsec_... uvicorn fastapi_receiver:app

In bridge.yaml: {transport: http, url: "https://.../events", secrets: ["${SECRET}"]}
Needs the extras fastapi, sqlalchemy.
"""

import os

from fastapi import FastAPI
from sqlalchemy import create_engine, text

from attempt_bridge_client import idempotent
from attempt_bridge_client.fastapi_router import event_router

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


app = FastAPI()
app.include_router(event_router(grade, os.environ["SECRET"]))
