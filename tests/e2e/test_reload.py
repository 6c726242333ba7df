"""`config reload` and SIGHUP over a running `up`: every part takes the edited file, and nothing is lost or refused."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
import yaml

from bridge.runtime import processes
from bridge.state import keys
from bridge.state.server_socket import addresses
from bridge.vendors.classmarker.simulator import Simulator
from tests.support.commands import PROGRAM, Start, Started, part_pids
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)

SIMULATOR = Simulator(7, time.time)
SOURCE = {
    "vendor": "classmarker",
    "credentials": {
        "api_key": SIMULATOR.api_key,
        "api_secret": SIMULATOR.api_secret,
        "webhook_secret": [SIMULATOR.webhook_secret],
    },
    "poll": {"enabled": False},
}
CONTENT: dict[str, Any] = {
    "demo": True,
    "bridge": {"name": "acme", "public_url": "http://127.0.0.1:8080", "data_dir": "data"},
    "sources": {"eu": SOURCE},
    "subscriptions": {"grades": {"transport": "kombu", "queue": "first"}},
}


class Senders:
    """Vendors that send webhook after webhook, each over a new connection or all over one, until the block ends."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[int, str]] = []
        self._url, self._ended, self._lock = url, threading.Event(), threading.Lock()
        sessions = (None, requests.Session())
        self._threads = [threading.Thread(target=self._send, args=(session,), daemon=True) for session in sessions]

    def _send(self, session: requests.Session | None) -> None:
        while not self._ended.wait(0.01):
            with self._lock:
                attempt = SIMULATOR.finish()
                raw, headers = SIMULATOR.webhook(attempt)
            post = (session or requests).post
            try:
                status = post(f"{self._url}/webhooks/eu", data=raw, headers=dict(headers), timeout=20).status_code
            except requests.RequestException as error:
                status = -1
                attempt = f"{attempt} {type(error).__name__}"
            self.answers.append((status, attempt))

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def reload(config: Path) -> tuple[int, str]:
    done = subprocess.run(
        [PROGRAM, "--config", str(config), "config", "reload"], capture_output=True, text=True, timeout=180
    )
    return done.returncode, done.stdout + done.stderr


def sends_to(url: str, source: str) -> int:
    raw, headers = SIMULATOR.webhook(SIMULATOR.finish())
    return requests.post(f"{url}/webhooks/{source}", data=raw, headers=dict(headers), timeout=10).status_code


def queued(config: Path, queue: str) -> list[str]:
    """The attempts in a receiver's queue on the embedded broker."""
    path = addresses(config.parent / "data")[1].removeprefix("redis+socket://").partition("?")[0]
    with redis.Redis(unix_socket_path=path, db=1) as broker:
        messages = [json.loads(raw) for raw in broker.lrange(queue, 0, -1)]
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    return [body["data"]["attempt"]["id"] for body in bodies]


def ready_with(start: Start, config: Path) -> tuple[Started, str]:
    config.write_text(yaml.safe_dump(CONTENT))
    started = start("--config", str(config), "up", "--port", "0")
    return started, started.ready()


def test_a_reload_gives_every_part_the_edited_file_while_no_webhook_is_lost_or_refused(
    start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "bridge.yaml"
    started, url = ready_with(start, config)
    pids = part_pids(started)
    assert sends_to(url, "us") == 404
    edited = {
        **CONTENT,
        "sources": {"eu": SOURCE, "us": SOURCE},
        "subscriptions": {"grades": {"transport": "kombu", "queue": "second"}},
    }
    with Senders(url) as senders:
        until(lambda: len(senders.answers) > 20)
        config.write_text(yaml.safe_dump(edited))
        code, said = reload(config)
        assert code == 0, said + started.err.read_text()[-3000:]
        count = len(senders.answers)
        until(lambda: len(senders.answers) > count + 20)
    assert sorted(line.split()[1].partition(":")[0] for line in said.splitlines()) == sorted(processes.PARTS), said
    assert said.count("loaded: ") == len(processes.PARTS), said
    assert {status for status, _ in senders.answers} == {200}, senders.answers
    sent = {attempt for _, attempt in senders.answers}
    with redis.Redis.from_url(addresses(tmp_path / "data")[0]) as state:
        published = [fields[b"attempt"].decode() for _, fields in state.xrange(keys.journal(0))]
    assert sorted(published) == sorted(sent)
    assert sends_to(url, "us") == 200
    until(lambda: sent <= {*queued(config, "first"), *queued(config, "second")})
    assert queued(config, "second")
    # In place: the supervisor sees no part end.
    assert part_pids(started) == pids
    assert "exited unexpectedly" not in started.err.read_text()


def test_a_file_with_problems_is_refused_by_name_and_the_old_one_stays(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "bridge.yaml"
    started, url = ready_with(start, config)
    config.write_text(yaml.safe_dump(CONTENT).replace("transport", "transprot"))
    code, said = reload(config)
    assert code == 78
    assert "transprot" in said
    started.process.send_signal(signal.SIGHUP)
    started.wait_for(lambda: "configuration refused: the old one stays in use" in started.err.read_text())
    config.write_text(yaml.safe_dump({**CONTENT, "bridge": {**CONTENT["bridge"], "partitions": 2}}))
    code, said = reload(config)
    assert code == 1
    assert said.count("bridge.partitions: cannot change while the bridge runs. Remedy: ") == len(processes.PARTS), said
    assert sends_to(url, "eu") == 200
    # By signal, with a file that is good again. What is written once it was checked stops nobody who starts again.
    config.write_text(yaml.safe_dump({**CONTENT, "sources": {"eu": SOURCE, "us": SOURCE}}))
    started.process.send_signal(signal.SIGHUP)
    accepted = '"outcome": "restarting"'
    started.wait_for(lambda: started.err.read_text().count(accepted) == len(processes.PARTS))
    config.write_text("bridge: [")
    started.wait_for(lambda: sends_to(url, "us") == 200)
    started.wait_for(lambda: started.err.read_text().count('"dispatch_started"') == 2)
    assert "exited unexpectedly" not in started.err.read_text()
