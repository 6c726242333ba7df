"""Receives signed attempt events over HTTP and checks their Standard Webhooks signature.

    python http_subscriber.py --secret whsec_... --port 8099 [--fail 0.2 --seed 7]

`--fail`: share of requests to answer with 500, to see the bridge try again. Prints `listening <url>` on stderr.
In bridge.yaml: {transport: http, url: "http://127.0.0.1:8099/", secrets: ["${SECRET}"], allow_private: true}
"""

import argparse
import json
import random
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

options = argparse.ArgumentParser()
options.add_argument("--secret", required=True)
options.add_argument("--port", type=int, default=0)
options.add_argument("--fail", type=float, default=0.0)
options.add_argument("--seed", type=int, default=None)
given = options.parse_args()
webhook, chance, seen = Webhook(given.secret), random.Random(given.seed), set()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except (WebhookVerificationError, ValueError):
            return self.answer(401)
        if chance.random() < given.fail:
            return self.answer(500)
        event = json.loads(body)
        if event["id"] not in seen:  # the same event may come twice; a real service asks its database
            attempt = event["data"]["attempt"]
            line = {"received": event["id"], "type": event["type"], "attempt": attempt["id"]}
            # The line end in the same write: several threads share stdout.
            print(json.dumps(line | {"revision": attempt["revision"]}) + "\n", end="", flush=True)
            seen.add(event["id"])
        return self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Quiet: stdout carries the events."""


server = ThreadingHTTPServer(("127.0.0.1", given.port), Receiver)
print(f"listening http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
server.serve_forever()
