"""Reads attempt events directly from the journal, a Redis stream, with its own consumer group. The fastest transport.

    python stream_subscriber.py --state redis://localhost:6379/0 --group certificates [--partitions 1] [--name one]

Needs no entry in bridge.yaml. Start several with different names to share the work; keep each name across restarts.
"""

import argparse
import contextlib
import json
import time

import redis

options = argparse.ArgumentParser()
options.add_argument("--state", required=True)
options.add_argument("--group", default="certificates")
options.add_argument("--name", default="one")
options.add_argument("--partitions", type=int, default=1)
given = options.parse_args()
# No retries inside the client: a repeated XREADGROUP would skip the entries of a lost answer.
client = redis.Redis.from_url(given.state, socket_timeout=10)
streams = [f"ab:{{{number}}}:journal" for number in range(given.partitions)]
position = None
while True:
    try:
        if position is None:  # at the start and after every error: first what this name received and did not finish
            for stream in streams:
                with contextlib.suppress(redis.ResponseError):  # BUSYGROUP: it exists
                    client.xgroup_create(stream, given.group, id="0", mkstream=True)
            position = "0"
        answer = client.xreadgroup(given.group, given.name, dict.fromkeys(streams, position), count=200, block=2000)
        batches = [(stream, entries) for stream, entries in answer or [] if entries]
        for stream, entries in batches:
            for _entry_id, fields in entries:
                kind = fields.get(b"type", b"")  # an entry that was erased since has no fields
                if not kind.startswith(b"attempt.") or kind == b"attempt.overdue":
                    continue  # the journal also holds alarms and other notices
                event = json.loads(fields[b"event"])
                if event.get("bridgetest"):
                    continue  # a test is about an invented attempt
                attempt = event["data"]["attempt"]
                line = {"received": event["id"], "type": event["type"], "attempt": attempt["id"]}
                print(json.dumps(line | {"revision": attempt["revision"]}), flush=True)
            client.xack(stream, given.group, *[entry_id for entry_id, _fields in entries])
        position = position if batches else ">"
    except (redis.ConnectionError, redis.TimeoutError):
        time.sleep(1)
        position = None
