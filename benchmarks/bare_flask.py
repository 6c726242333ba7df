"""The baseline of `receive`: a Flask route that checks an HMAC and does one XADD, on the same gunicorn as the bridge.

Run as `python -m benchmarks.bare_flask PORT STATE_URL WORKERS`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import sys
from collections.abc import Callable
from typing import Any

import redis
from flask import Flask, request
from gunicorn.app.base import BaseApplication

SECRET = b"benchmark-phrase"


def create(url: str) -> Flask:
    app = Flask(__name__)
    client = redis.Redis.from_url(url)

    @app.post("/webhooks/<source>")
    def hook(source: str) -> tuple[str, int]:
        body = request.get_data(cache=False)
        mine = base64.b64encode(hmac.new(SECRET, body, hashlib.sha256).digest()).decode()
        if not hmac.compare_digest(mine, request.headers.get("X-Classmarker-Hmac-Sha256", "")):
            return "", 401
        client.xadd("bare", {"body": body})
        return "", 200

    return app


class Server(BaseApplication):
    def __init__(self, options: dict[str, Any], load: Callable[[], Flask]) -> None:
        self.options, self.build = options, load
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self.build()


if __name__ == "__main__":
    port, url, workers = sys.argv[1:]
    Server(
        {
            "bind": f"127.0.0.1:{port}",
            "workers": int(workers),
            "worker_class": "gevent",
            "worker_connections": 2000,
            "keepalive": 5,
            "loglevel": "error",
        },
        lambda: create(url),
    ).run()
