"""`attempt-bridge up` as a whole: ready, receiving, surviving kills of every part, ending with its parent, stopping."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
import requests
import yaml

from bridge import cli
from bridge.runtime import processes
from bridge.state import keys
from bridge.state.embedded_server import EmbeddedServer
from bridge.state.server_socket import addresses
from bridge.vendors.classmarker.simulator import Simulator
from tests.support.commands import Start, Started, alive, descendants, kill, parent_of, part_pids
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)

SIMULATOR = Simulator(7, time.time)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    source = {
        "vendor": "classmarker",
        "credentials": {
            "api_key": SIMULATOR.api_key,
            "api_secret": SIMULATOR.api_secret,
            "webhook_secret": [SIMULATOR.webhook_secret],
        },
        "poll": {"enabled": False},
    }
    file = tmp_path / "bridge.yaml"
    bridge = {"name": "acme", "public_url": "http://127.0.0.1:8080", "data_dir": "data"}
    file.write_text(yaml.safe_dump({"demo": True, "bridge": bridge, "sources": {"eu": source}, "subscriptions": {}}))
    return file


def up(start: Start, config: Path, *more: str) -> Started:
    return start("--config", str(config), "up", "--port", "0", *more)


def send(url: str) -> str:
    """A new attempt by webhook, sent again after a 503 as a vendor does; its id."""
    attempt_id = SIMULATOR.finish()
    raw, headers = SIMULATOR.webhook(attempt_id)

    def taken() -> bool:
        answer = requests.post(f"{url}/webhooks/eu", data=raw, headers=dict(headers), timeout=10)
        assert answer.status_code in (200, 503)
        return answer.status_code == 200 and answer.json()["outcome"] in ("published", "duplicate")

    until(taken)
    return attempt_id


def stops_in_good_order(started: Started, number: signal.Signals) -> int:
    """The exit code; no process is left behind, and none had to be killed."""
    everything = descendants(started.process.pid)
    code = started.ends(number)
    assert [command for pid, command in everything.items() if alive(pid)] == []
    assert "killed" not in started.err.read_text()
    return code


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def server_pid(config: Path) -> int:
    """The process of the embedded server, as it says itself."""
    with redis.Redis.from_url(addresses(config.parent / "data")[0]) as client:
        return int(client.info("server")["process_id"])


def journal(config: Path) -> list[str]:
    """Attempt ids of the events in the journal."""
    with redis.Redis.from_url(addresses(config.parent / "data")[0]) as client:
        return [fields[b"attempt"].decode() for _, fields in client.xrange(keys.journal(0))]


def sign_in_link(started: Started, url: str) -> str:
    said = [json.loads(line)["event"] for line in started.err.read_text().splitlines()]
    (line,) = [line for line in said if line.startswith("dashboard: ")]
    match = re.fullmatch(rf"dashboard: ({url}/ui/sign-in\?code=[\w-]{{43}}) \(signs in once, within 24 h\)", line)
    assert match is not None, line
    return match[1]


def test_the_first_start_shows_a_token_that_the_api_asks_for_and_later_ones_even_without_sources_say_where_its_hash_is(
    start: Start, config: Path
) -> None:
    started = up(start, config)
    url = started.ready()
    assert started.out.read_text() == f"ready {url}\n"
    file = config.parent / "data" / "api-token.sha256"
    said = [json.loads(line) for line in started.err.read_text().splitlines()]
    assert {line["part"] for line in said} <= {*processes.PARTS, "up"}
    assert all(line["event"] and line["level"] for line in said)
    (notice,) = [line["event"] for line in said if "shown this once" in line["event"]]
    assert notice.startswith("API token, shown this once: ")
    token = notice.partition("shown this once: ")[2].split()[0]
    assert hashlib.sha256(token.encode()).hexdigest() == file.read_text().strip()
    for path in ("/api/v1/watches", "/metrics"):
        assert requests.get(url + path, timeout=10).status_code == 401
        assert requests.get(url + path, headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code == 200
    link = sign_in_link(started, url)
    code = link.partition("?code=")[2]
    with requests.Session() as browser:
        assert code in browser.get(link, timeout=10).text
        form = {"data": {"code": code}, "headers": {"Origin": url}, "timeout": 10}
        assert browser.post(link, **form).url == f"{url}/ui/"
        assert requests.post(link, **form).status_code == 401
    assert stops_in_good_order(started, signal.SIGTERM) == 0
    assert not (file.parent / "server.pid").exists()
    # Nowhere else: not in a log of a part, not on disk.
    for secret in (token, code):
        assert started.err.read_text().count(secret) == 1
        assert not any(secret.encode() in path.read_bytes() for path in file.parent.rglob("*") if path.is_file())

    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "sources": {}}))
    second = up(start, config)
    url = second.ready()
    assert answers(url)
    lines = [json.loads(line) for line in second.err.read_text().splitlines()]
    events = [line["event"] for line in lines if line["part"] == "up" and "still waiting" not in line["event"]]
    assert events[:-1] == [
        f"the hash of the API token is in {file}; to get a new token delete that file and start again",
        f"{config} has no sources yet, so nothing will be received. See bridge.example.yaml",
    ]
    assert events[-1].startswith(f"dashboard: {url}/ui/sign-in?code=")
    assert code not in events[-1]
    assert "Warning" not in second.err.read_text()
    assert stops_in_good_order(second, signal.SIGINT) == 130


def kill_with_supervisor(started: Started, *guards: str, part: str | None = None) -> dict[int, str]:
    """Kill what runs these programs below `up`, then `up` itself and this part; process id -> command line of
    everything that was below it.
    """
    below, parts = descendants(started.process.pid), part_pids(started)
    assert len(below) >= len(processes.PARTS) + 4
    # The guards first: they act on the end of the supervisor.
    for pid in [pid for pid, command in below.items() if any(guard in command for guard in guards)]:
        kill(pid)
    for pid in (started.process.pid, *([parts[part]] if part else [])):
        kill(pid)
    started.process.wait()
    return below


def test_after_a_killed_supervisor_the_next_one_starts_with_all_data_and_one_beside_another_is_refused(
    start: Start, config: Path
) -> None:
    first = up(start, config)
    url = first.ready()
    sent = [send(url)]
    refused = up(start, config)
    assert refused.ends() == 1
    (line,) = refused.err.read_text().splitlines()
    assert f"in use by process {first.process.pid}. Remedy: " in line

    below = kill_with_supervisor(first, "reaper.py")
    # At once and on the same port: the parts of the first have a few seconds to end.
    second = start("--config", str(config), "up", "--port", url.rpartition(":")[2])
    assert second.ready() == url
    until(lambda: not any(alive(pid) for pid in below))
    sent.append(send(url))
    assert journal(config) == sent

    # Nobody is left to end the server. The worker processes of web end also when everything above them is killed.
    server = server_pid(config)
    below = kill_with_supervisor(second, "reaper.py", "keeper.py", part="web")
    until(lambda: [pid for pid in below if alive(pid)] == [server])
    third = up(start, config)
    url = third.ready()
    assert f"adopted the embedded server of an earlier run: process {server}" in third.err.read_text()
    sent.append(send(url))
    assert journal(config) == sent
    assert third.ends(signal.SIGTERM) == 0
    assert "the embedded server of an earlier run keeps running. Remedy: " in third.err.read_text()
    assert alive(server)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = start("--config", str(config), "up", "--port", str(port))
        assert refused.ends() == 1
    # One line, so it has neither started nor adopted a server.
    (line,) = refused.err.read_text().splitlines()
    assert line.startswith(f"Error: cannot listen on 127.0.0.1:{port}: ")
    assert line.endswith("Remedy: choose another port with --port")
    assert server_pid(config) == server


@pytest.fixture
def small_disk(starts_processes: None, config: Path) -> Iterator[Path]:
    """The data directory on 8 MB of memory as a disk; `mount -o remount,size=64m` makes room."""
    where = config.parent / "data"
    where.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(where)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield where
    EmbeddedServer(where).stop()
    subprocess.run(["umount", "--lazy", str(where)], check=True)


def status(url: str) -> int:
    raw, headers = SIMULATOR.webhook(SIMULATOR.finish())
    return requests.post(f"{url}/webhooks/eu", data=raw, headers=dict(headers), timeout=10).status_code


def test_a_full_disk_ends_no_process_and_webhooks_are_taken_again_when_there_is_room(
    start: Start, config: Path, small_disk: Path
) -> None:
    started = up(start, config)
    url = started.ready()
    sent = [send(url)]
    supervisor, parts, server = started.process.pid, part_pids(started), server_pid(config)
    with (small_disk / "somebody-elses").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    # Nothing but 200 and 503, and in the end only 503: the server ends at its first failed write.
    until(lambda: status(url) == 503 and server_pid_or_none(config) != server)
    # Its web processes end too, and new ones cannot share their numbers.
    for pid in [pid for pid in descendants(parts["web"]) if parent_of(pid) == parts["web"]]:
        kill(pid)
    until(lambda: status_or_none(url) == 503)
    assert started.process.poll() is None
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    sent.append(send(url))
    assert set(sent) <= set(journal(config))
    assert started.process.pid == supervisor
    assert part_pids(started)["web"] == parts["web"]


def status_or_none(url: str) -> int | None:
    try:
        return status(url)
    except requests.RequestException:
        return None


def server_pid_or_none(config: Path) -> int | None:
    try:
        return server_pid(config)
    except redis.RedisError:
        return None


def test_a_reader_that_stops_reading_or_closes_ends_nothing(start: Start, config: Path) -> None:
    reading, writing = os.pipe()
    # Nobody reads: what web says about refused webhooks and what is said about dead parts finds the pipe full.
    os.write(writing, bytes(fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4096)))
    with os.fdopen(writing, "wb") as stderr:
        started = start("--config", str(config), "up", "--port", "0", stderr=stderr)
    url = started.ready()
    for is_last in (False, True):
        if is_last:
            os.close(reading)
        first = part_pids(started)
        for _ in range(50):
            assert requests.post(f"{url}/webhooks/eu", json={}, timeout=10).status_code in (401, 503)
        kill(first["beat"])
        until(lambda first=first: part_pids(started).get("beat", first["beat"]) != first["beat"])  # type: ignore[misc]
        send(url)
    assert started.ends(signal.SIGTERM) == 0


def test_a_wrong_configuration_is_refused_before_anything_starts(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text().replace("public_url", "public_ulr"))
    assert cli.run(("--config", str(config), "up", "--port", "0")) == 78
    assert 'Did you mean "public_url"?' in capsys.readouterr().err
    assert not (config.parent / "data").exists()
