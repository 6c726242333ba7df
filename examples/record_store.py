"""A minimal learning record store: keeps the xAPI statements of `format: xapi` in memory, and prints their events.

    python record_store.py --user bridge --password ... --port 8097

Prints `listening <url>` on stderr. A known id with different content is a conflict (409).
In bridge.yaml: {transport: http, url: "http://127.0.0.1:8097/statements", format: xapi, allow_private: true,
authorization: {basic: {user: bridge, password: "${LRS_PASSWORD}"}}}
"""

import argparse
import json
import logging
import sys

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

options = argparse.ArgumentParser()
options.add_argument("--user", default="bridge")
options.add_argument("--password", required=True)
options.add_argument("--port", type=int, default=0)
given = options.parse_args()
statements, app = {}, Flask(__name__)
logging.getLogger("werkzeug").setLevel("ERROR")
#: The extension of a voiding statement with the id of the event that it comes from.
EVENT_ID = "urn:attempt-bridge:xapi:event-id"


@app.post("/statements")
def store():
    who = request.authorization
    if who is None or (who.username, who.password) != (given.user, given.password):
        return "", 401
    document = request.get_json(force=True)
    new = {statement["id"]: statement for statement in (document if isinstance(document, list) else [document])}
    if any(statements.get(ident, statement) != statement for ident, statement in new.items()):
        return "", 409
    statements.update(new)
    for ident, statement in new.items():
        event = statement.get("context", {}).get("extensions", {}).get(EVENT_ID, ident)
        sys.stdout.write(json.dumps({"received": event, "verb": statement["verb"]["id"].rpartition("/")[2]}) + "\n")
    sys.stdout.flush()
    return jsonify(list(new))


server = make_server("127.0.0.1", given.port, app, threaded=True)
print(f"listening http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
server.serve_forever()
