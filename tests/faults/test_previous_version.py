"""The commit before this one beside this one, over one state: nothing lost, nothing published twice, nobody ends.

Where the layout of the state has changed since, the processes of the earlier version end first, and this one upgrades
what they have stored.
"""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import yaml
from werkzeug.wrappers import Request, Response

from bridge import __version__
from bridge.state import keys
from bridge.state.layout import LAYOUT, LAYOUTS
from bridge.state.running import RunningProcesses
from bridge.vendors.classmarker.simulator import Simulator
from tests.support.commands import Start, Started
from tests.support.comparison import reconcile
from tests.support.servers import Server, serving

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
PARTS = ("web", "worker", "dispatch", "beat")


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The files of the commit before this one."""
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "HEAD~1", "--", ":!tests", ":!docs"], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip("no commit before this one: not a checkout with a history")
    place = tmp_path / "previous"
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(place, filter="data")
    return place


def layout_of(checkout: Path) -> int:
    """The layout that a version works with."""
    file = checkout / "bridge/state/layout.py"
    lines = file.read_text().splitlines() if file.exists() else ["LAYOUT = 1"]
    return next(int(line.split()[2]) for line in lines if line.startswith("LAYOUT = "))


class Receivers:
    """What a subscriber got, and who passes webhooks on to the processes of both versions in turn."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.webs: list[str] = []
        self.answers: Counter[int] = Counter()
        self._turn = count()

    @Request.application
    def subscriber(self, request: Request) -> Response:
        self.events[json.loads(request.get_data())["id"]] += 1
        return Response(status=204)

    @Request.application
    def balancer(self, request: Request) -> Response:
        """To one version, and the same again to the other; the first five are lost, so that polls find them."""
        first = next(self._turn)
        if first < 5:
            return Response(status=200)
        for number in range(2):
            web = self.webs[(first + number) % len(self.webs)]
            headers = {name: value for name, value in request.headers.items() if name != "Host"}
            answer = requests.post(f"{web}/webhooks/eu", request.get_data(), headers=headers, timeout=30)
            self.answers[answer.status_code] += 1
        return Response(status=answer.status_code)


@pytest.fixture
def receivers() -> Iterator[tuple[Receivers, str, str]]:
    """They, the address of the subscriber and that of the balancer."""
    receivers = Receivers()
    with serving(receivers.subscriber) as subscriber, serving(receivers.balancer) as balancer:
        yield receivers, subscriber, balancer


def written(tmp_path: Path, server: Server, simulator: Simulator, api: str, subscriber: str) -> str:
    """The path of a bridge.yaml that both versions read."""
    credentials = {
        "api_key": simulator.api_key,
        "api_secret": simulator.api_secret,
        "webhook_secret": [simulator.webhook_secret],
    }
    poll = {"every": "1s", "overlap": "60s", "look_back": "1h"}
    crm = {"transport": "http", "url": subscriber, "secrets": [SECRET], "allow_private": True}
    document = {
        "demo": True,
        "bridge": {
            "name": "acme",
            "public_url": "http://127.0.0.1:8080",
            "state": server.url,
            "broker": server.broker_url,
            "data_dir": str(tmp_path / "data"),
        },
        "sources": {"eu": {"vendor": "classmarker", "base_url": api, "credentials": credentials, "poll": poll}},
        "subscriptions": {"crm": crm},
    }
    file = tmp_path / "bridge.yaml"
    file.write_text(yaml.safe_dump(document))
    return str(file)


def begun(start: Start, config: str, parts: tuple[str, ...], code: Path | None) -> tuple[dict[str, Started], str]:
    """The processes of one version, and the address of its web."""
    port = str(urlsplit(free_address()).port)
    options = {"web": ("--host", "127.0.0.1", "--port", port)}
    address, started = f"http://127.0.0.1:{port}", dict[str, Started]()
    for part in parts:
        started[part] = start("--config", config, part, *options.get(part, ()), code=code)
        # Web first: what it has compiled of another checkout the others need not compile again.
        started["web"].wait_for(lambda: answers(address))
    return started, address


def free_address() -> str:
    with serving(Response(status=404)) as address:
        return address


def answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def test_the_previous_version_and_this_one_share_a_state_or_hand_it_over(
    start: Start,
    previous: Path,
    own_server: Server,
    receivers: tuple[Receivers, str, str],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    got, subscriber, balancer = receivers
    simulator = Simulator(5, time.time)
    with serving(simulator.wsgi) as api, own_server.client() as client:
        config = written(tmp_path, own_server, simulator, api, subscriber)
        old, address = begun(start, config, PARTS, previous)
        got.webs.append(address)
        simulator.start_webhooks(balancer)

        def arrived() -> bool:
            return len(got.events) >= len(simulator.expected())

        def settled() -> bool:
            return all(group["pending"] == 0 for group in client.xinfo_groups(keys.journal(0)))

        def finish(number: int, witness: Started) -> None:
            for _ in range(number):
                simulator.finish()
            witness.wait_for(lambda: not simulator.webhooks_pending() and arrived() and settled())

        finish(10, old["web"])
        shared = layout_of(previous) in LAYOUTS
        if not shared:
            end(old)
            for part in PARTS:
                # They would end by themselves within half a minute.
                client.delete(keys.heartbeat(part))
        new, address = begun(start, config, PARTS if not shared else PARTS[:3], None)
        got.webs = [*got.webs, address] if shared else [address]
        finish(20, new["web"])
        running = RunningProcesses(client).read(time.time())
        ours = [each.name for each in running if each.version == __version__ and each.layouts == LAYOUTS]
        assert set(new) <= set(ours)
        assert len(running) == len(new) + len(old) * shared
        if shared:
            assert {part: process.process.poll() for part, process in old.items()} == dict.fromkeys(PARTS)
            end(old)
            got.webs = [address]
            finish(5, new["web"])
        assert {part: process.process.poll() for part, process in new.items()} == dict.fromkeys(new)
        simulator.stop()
        wanted = {("eu", attempt) for attempt in simulator.expected()}
        counts = reconcile(client, acked=wanted, effects={"crm": got.events}, subscriptions=["crm"])
        assert client.hget(keys.BRIDGE, "layout") == str(layout_of(previous) if shared else LAYOUTS[0]).encode()
    record_property("faults", counts.line(shared=shared, answers=dict(got.answers)))
    assert counts.wrong == {}
    assert (counts.in_journal, counts.dead_letters, set(got.answers)) == (len(wanted), 0, {200})


def end(processes: dict[str, Started]) -> None:
    """SIGTERM, as an operator stops a version."""
    assert {part: process.ends(signal.SIGTERM) for part, process in processes.items()} == dict.fromkeys(processes, 0)


def test_the_layout_of_a_version_is_read_from_its_files(tmp_path: Path) -> None:
    assert (layout_of(ROOT), layout_of(tmp_path)) == (LAYOUT, 1)
