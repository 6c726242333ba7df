"""A Celery task that confirms what it has processed.

    DATABASE_URL=sqlite:///grades.sqlite3 BROKER=redis://localhost:6379/1 BRIDGE_URL=https://bridge.example.org \
        BRIDGE_TOKEN=... celery -A celery_receiver worker --queues gradebook

In bridge.yaml: {transport: celery, task: gradebook.done, queue: gradebook, receipts: {required: true}}
Needs the extras celery, sqlalchemy. The settings for TLS and for a broker that stops answering are in
examples/celery_subscriber.py of the bridge.
"""

import os

from celery import Celery
from sqlalchemy import create_engine, text

from attempt_bridge_client import idempotent, receipt
from attempt_bridge_client.celery_task import EventTask

engine = create_engine(os.environ["DATABASE_URL"])
SAVE = text(
    "INSERT INTO grades (attempt, passed) VALUES (:attempt, :passed) "
    "ON CONFLICT (attempt) DO UPDATE SET passed = excluded.passed"
)
app = Celery("gradebook", broker=os.environ["BROKER"])
confirm = receipt("gradebook", url=os.environ["BRIDGE_URL"], token=os.environ["BRIDGE_TOKEN"])


@app.task(base=EventTask, name="gradebook.done", receipt=confirm)
@idempotent(engine.begin)
def grade(event, connection):
    attempt, result = event.data.attempt, event.data.result
    passed = result.passed if attempt.status == "completed" else None
    connection.execute(SAVE, {"attempt": attempt.id, "passed": passed})
