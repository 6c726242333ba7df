"""The journal itself, a Redis stream, with a consumer group.

    DATABASE_URL=sqlite:///grades.sqlite3 STATE=redis://localhost:6379/0 python stream_receiver.py

Needs no entry in bridge.yaml, and the extras redis, sqlalchemy.
"""

import os
import sys

import redis
from sqlalchemy import create_engine, text

from attempt_bridge_client import idempotent
from attempt_bridge_client.redis_stream import StreamReader

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


def give_up(message):
    print(f"given up after {message.deliveries} deliveries: {message.entry_id}", file=sys.stderr)


client = redis.Redis.from_url(os.environ["STATE"], socket_timeout=10)
reader = StreamReader(client, group="certificates", consumer="one", handler=grade, on_poison=give_up)
if __name__ == "__main__":
    reader.run()
