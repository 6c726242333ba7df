"""Receives signed attempt events over HTTP and checks their Standard Webhooks signature.

    python http_subscriber.py --secret whsec_... --port 8099 [--fail 0.2 --seed 7]

`--fail`: share of requests answered with 500, to see the bridge retry. Prints `listening <url>` on stderr.
In bridge.yaml: {transport: http, url: "http://127.0.0.1:8099/", secrets: ["${SECRET}"], allow_private: true}
"""

import argparse
import json
import logging
import random
import sys

from flask import Flask, request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from werkzeug.serving import make_server

options = argparse.ArgumentParser()
options.add_argument("--secret", required=True)
options.add_argument("--port", type=int, default=0)
options.add_argument("--fail", type=float, default=0.0)
options.add_argument("--seed", type=int, default=None)
given = options.parse_args()
webhook, chance, seen, app = Webhook(given.secret), random.Random(given.seed), set(), Flask(__name__)
logging.getLogger("werkzeug").setLevel("ERROR")


@app.post("/")
def receive():
    try:
        webhook.verify(request.get_data(), {name.lower(): value for name, value in request.headers.items()})
    except (WebhookVerificationError, ValueError):
        return "", 401
    if chance.random() < given.fail:
        return "", 500
    event = request.get_json(force=True)
    # An event may arrive twice; a real service asks its database. A test is about an invented attempt.
    if event["id"] not in seen and not event.get("bridgetest"):
        attempt = event["data"]["attempt"]
        line = {"received": event["id"], "type": event["type"], "attempt": attempt["id"]}
        sys.stdout.write(json.dumps(line | {"revision": attempt["revision"]}) + "\n")
        sys.stdout.flush()
        seen.add(event["id"])
    return "", 204


server = make_server("127.0.0.1", given.port, app, threaded=True)
print(f"listening http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
server.serve_forever()
