"""Reads attempt events straight from the journal, a Redis stream, with a consumer group of its own. Fastest way in.

    python stream_subscriber.py --state redis://localhost:6379/0 --group certificates [--partitions 1] [--name one]

No entry in bridge.yaml is needed. Start several with different names to share the work; keep a name over restarts.
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
# No retries inside the client: a repeated XREADGROUP hides the entries of the lost answer.
client = redis.Redis.from_url(given.state, socket_timeout=10)
streams = [f"ab:{{{number}}}:journal" for number in range(given.partitions)]
position = None
while True:
    try:
        if position is None:  # at the start and after every error: first what this name was given and did not finish
            for stream in streams:
                with contextlib.suppress(redis.ResponseError):  # BUSYGROUP: it is there already
                    client.xgroup_create(stream, given.group, id="0", mkstream=True)
            position = "0"
        answer = client.xreadgroup(given.group, given.name, dict.fromkeys(streams, position), count=200, block=2000)
        batches = [(stream, entries) for stream, entries in answer or [] if entries]
        for stream, entries in batches:
            for _entry_id, fields in entries:
                if not fields[b"type"].startswith(b"attempt.") or fields[b"type"] == b"attempt.overdue":
                    continue  # alarms and other notices stand on the journal too
                event = json.loads(fields[b"event"])
                attempt = event["data"]["attempt"]
                line = {"received": event["id"], "type": event["type"], "attempt": attempt["id"]}
                print(json.dumps(line | {"revision": attempt["revision"]}), flush=True)
            client.xack(stream, given.group, *[entry_id for entry_id, _fields in entries])
        position = position if batches else ">"
    except (redis.ConnectionError, redis.TimeoutError):
        time.sleep(1)
        position = None
