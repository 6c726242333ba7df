"""`config reload` and SIGHUP over a running `up`: every part takes the edited file, and nothing is lost or refused."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
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
from tests.support.commands import PROGRAM, Start, Started, kill, part_pids
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


def journal(config: Path) -> list[str]:
    """Attempt ids of the events in the journal."""
    with redis.Redis.from_url(addresses(config.parent / "data")[0]) as state:
        return [fields[b"attempt"].decode() for _, fields in state.xrange(keys.journal(0))]


def queued(config: Path, queue: str) -> list[str]:
    """The attempts in a receiver's queue on the embedded broker."""
    path = addresses(config.parent / "data")[1].removeprefix("redis+socket://").partition("?")[0]
    with redis.Redis(unix_socket_path=path, db=1) as broker:
        messages = [json.loads(raw) for raw in broker.lrange(queue, 0, -1)]
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    return [body["data"]["attempt"]["id"] for body in bodies]


@dataclass
class Running:
    """An `up` with `CONTENT`, and what it was then."""

    config: Path
    started: Started
    url: str
    pids: dict[str, int]


def test_every_part_takes_an_edited_file_by_command_and_by_signal_and_one_with_problems_changes_nothing(
    start: Start, tmp_path: Path
) -> None:
    """In one test, because it takes a whole bridge."""
    config = tmp_path / "bridge.yaml"
    config.write_text(yaml.safe_dump(CONTENT))
    started = start("--config", str(config), "up", "--port", "0")
    running = Running(config, started, started.ready(), part_pids(started))
    check_problems_are_refused_by_name(running)
    check_no_webhook_is_lost_or_refused(running)
    check_what_is_written_later_stops_nobody_who_starts_again(running)
    # In place: the supervisor sees no part end.
    assert part_pids(started) == running.pids
    assert "exited unexpectedly" not in started.err.read_text()
    check_a_part_that_cannot_start_is_named_and_web_goes_on_receiving(running)


def check_problems_are_refused_by_name(running: Running) -> None:
    config, started = running.config, running.started
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
    assert (sends_to(running.url, "eu"), sends_to(running.url, "us")) == (200, 404)


def check_no_webhook_is_lost_or_refused(running: Running) -> None:
    config, url = running.config, running.url
    before = journal(config)
    edited = {
        **CONTENT,
        "sources": {"eu": SOURCE, "us": SOURCE},
        "subscriptions": {"grades": {"transport": "kombu", "queue": "second"}},
    }
    with Senders(url) as senders:
        until(lambda: len(senders.answers) > 20)
        config.write_text(yaml.safe_dump(edited))
        code, said = reload(config)
        assert code == 0, said + running.started.err.read_text()[-3000:]
        count = len(senders.answers)
        until(lambda: len(senders.answers) > count + 20)
    assert sorted(line.split()[1].partition(":")[0] for line in said.splitlines()) == sorted(processes.PARTS), said
    assert said.count("loaded: ") == len(processes.PARTS), said
    assert {status for status, _ in senders.answers} == {200}, senders.answers
    sent = {attempt for _, attempt in senders.answers}
    assert sorted(journal(config)) == sorted([*before, *sent])
    assert sends_to(url, "us") == 200
    until(lambda: sent <= {*queued(config, "first"), *queued(config, "second")})
    assert queued(config, "second")


def check_what_is_written_later_stops_nobody_who_starts_again(running: Running) -> None:
    """After a reload by signal, with a file that was good when it was checked."""
    config, started = running.config, running.started
    accepted, begun = '"outcome": "restarting"', '"dispatch_started"'
    restarts, begins = (started.err.read_text().count(text) for text in (accepted, begun))
    config.write_text(yaml.safe_dump({**CONTENT, "sources": {"eu": SOURCE, "us": SOURCE, "ca": SOURCE}}))
    started.process.send_signal(signal.SIGHUP)
    started.wait_for(lambda: started.err.read_text().count(accepted) == restarts + len(processes.PARTS))
    config.write_text("bridge: [")
    started.wait_for(lambda: sends_to(running.url, "ca") == 200)
    started.wait_for(lambda: started.err.read_text().count(begun) == begins + 1)


def check_a_part_that_cannot_start_is_named_and_web_goes_on_receiving(running: Running) -> None:
    """With the file as the check before has left it."""
    started, url = running.started, running.url
    kill(running.pids["worker"])
    started.wait_for(lambda: "exited unexpectedly (exit code 78" in started.err.read_text())
    assert "restarting in 60 s. Its last line: " in started.err.read_text()
    started.wait_for(lambda: "[-]worker missing: no heartbeat" in requests.get(f"{url}/readyz?verbose", timeout=5).text)
    answer = requests.get(f"{url}/readyz?verbose", timeout=5)
    assert answer.status_code == 200
    for name in ("web", "beat", "dispatch"):
        assert f"[+]{name} ok: heartbeat" in answer.text
    before = len(journal(running.config))
    assert sends_to(url, "eu") == 200
    assert len(journal(running.config)) == before + 1
    assert {**part_pids(started), "worker": running.pids["worker"]} == running.pids
