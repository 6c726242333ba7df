"""Stands in for a chat: prints the messages of `transport: notify`, which Apprise posts to an address `json://`.

    python chat_receiver.py --port 8098

Prints `listening <url>` on stderr. The last word of the message is the id of the event, as in the template below.
In bridge.yaml: {transport: notify, urls: ["json://127.0.0.1:8098"], allow_private: true,
filter: {types: [attempt.completed]}, templates: {attempt.*: {body: "{{ assessment }}, {{ score }}. {{ id }}"}}}
"""

import argparse
import json
import logging
import sys

from flask import Flask, request
from werkzeug.serving import make_server

options = argparse.ArgumentParser()
options.add_argument("--port", type=int, default=0)
given = options.parse_args()
seen, app = set(), Flask(__name__)
logging.getLogger("werkzeug").setLevel("ERROR")


@app.post("/")
def receive():
    message = request.get_json(force=True)
    ident = message["message"].split()[-1]
    # A message comes again if the bridge was killed after sending it.
    if ident not in seen:
        sys.stdout.write(json.dumps({"received": ident, "message": message["title"]}) + "\n")
        sys.stdout.flush()
        seen.add(ident)
    return "", 204


server = make_server("127.0.0.1", given.port, app, threaded=True)
print(f"listening http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
server.serve_forever()
