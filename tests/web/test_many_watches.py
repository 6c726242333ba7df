"""Many watches: what is done for one is a look-up, what is done for all is linear; counted, not timed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from flask.testing import FlaskClient

from bridge.cli.watches import watches
from bridge.polling.expectations import Expectation
from bridge.services import Services
from bridge.state import keys
from bridge.watch_registration import watch_id
from tests.support.servers import Server
from tests.support.watches_api import build

pytestmark = pytest.mark.long

#: Commands that read all of something.
WHOLE = {"HGETALL", "HVALS", "HKEYS", "HSCAN", "ZRANGE", "ZSCAN", "SCAN", "KEYS"}


class Commands:
    """The commands that go to the server."""

    def __init__(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: Counter[str] = Counter()
        connection = type(client.connection_pool.make_connection())
        plain = connection.send_packed_command

        def send(this: Any, command: Any, *arguments: Any, **options: Any) -> Any:
            packed = b"".join(command) if isinstance(command, list) else command
            for part in packed.split(b"*")[1:]:
                words = part.split(b"\r\n")
                if len(words) > 2 and words[0].isdigit():
                    self.sent[words[2].decode(errors="replace").upper()] += 1
            return plain(this, command, *arguments, **options)

        monkeypatch.setattr(connection, "send_packed_command", send)

    def during(self) -> int:
        """The number of commands since the last call."""
        count, self.last = sum(self.sent.values()), self.sent
        self.sent = Counter()
        return count


def fill(services: Services, count: int) -> None:
    expected = [
        Expectation(
            key=f"link:{number}", reference={"n": str(number)}, label=None, due=1e9, deadline=3e9, registered_at=1e9
        )
        for number in range(count)
    ]
    services.expectations.register("eu", expected, now=1e9)


@pytest.fixture
def commands(state: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(state, monkeypatch)


def test_one_watch_is_shown_and_cancelled_by_the_same_few_commands_however_many_there_are(
    api: FlaskClient, run: Any, services: Services, commands: Commands
) -> None:
    counted = []
    # The scripts are loaded once, that of the audit among them; connections are opened once.
    fill(services, 10)
    run("cancel", watch_id("eu", "link:5"))
    api.get("/api/v1/watches?source=eu")
    for count in (10, 2000):
        fill(services, count)
        commands.during()
        ident = watch_id("eu", "link:5")
        assert json.loads(run("show", ident, "-o", "json").stdout)["key"] == "link:5"
        assert api.get(f"/api/v1/watches/{ident}").status_code == 200
        assert run("cancel", ident, watch_id("eu", "link:6")).stderr == "2 cancelled\n"
        assert api.delete(f"/api/v1/watches/{ident}").status_code == 404
        counted.append(commands.during())
        assert not WHOLE & commands.last.keys()
    assert counted[0] == counted[1] < 40


def test_all_are_registered_listed_and_cancelled_by_commands_for_hundreds_each(
    run: Any, services: Services, commands: Commands, tmp_path: Path
) -> None:
    file = tmp_path / "expected.csv"
    file.write_text("source,stream,result\n" + "".join(f"{'eu' if n % 2 else 'us'},link,{n}\n" for n in range(3000)))
    commands.during()
    assert run("import", file, "--source", "eu").stderr.startswith("3000 attempts are expected")
    assert commands.during() <= 3000 / 100
    assert len(run("list", "-o", "jsonl", "--limit", "5000").stdout.splitlines()) == 3000
    assert commands.during() <= 3000 / 100
    assert run("cancel", "--all", "--source", "eu", "--yes").stderr == "1500 cancelled\n"
    assert commands.during() <= 1500 / 100
    assert services.expectations.list("eu") == services.watches.list("eu") == ()
    assert len(services.watches.list("us")) == 1500


def test_a_page_of_the_list_makes_only_its_own_rows(
    api: FlaskClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(services, 300)
    made: list[float] = []

    def counted(moment: float) -> str:
        made.append(moment)
        return "2030-01-01T00:00:00.000Z"

    monkeypatch.setattr("bridge.watch_registration._iso", counted)
    page = api.get("/api/v1/watches?source=eu&limit=5&state=open").json
    assert (len(page["watches"]), page["total"]) == (5, 300)
    assert len(made) <= 5 * 8
    page = api.get("/api/v1/watches?source=eu&limit=5&state=overdue").json
    assert (page["watches"], page["next"], page["total"]) == ([], None, 0)
    assert page["counts"]["states"] == {"open": 300, "overdue": 0, "expanded": 0}


def test_a_state_server_that_fails_on_the_way_is_reported_with_how_many_are_registered(
    run: Any, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "expected.csv"
    file.write_text("stream,result\n" + "".join(f"link,{number}\n" for number in range(2000)))
    plain = services.expectations._register
    calls = []

    def full(**arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'")
        return plain(**arguments)

    monkeypatch.setattr(services.expectations, "_register", full)
    answer = run("import", file, "--source", "eu")
    assert len(services.expectations.list("eu")) == 1000
    assert "At least 1000 of 2000 attempts are registered. Remedy: repeat this" in answer.stderr

    answer = run("import", file, "--source", "eu")
    assert answer.stderr.startswith("2000 attempts are expected")
    assert len(services.watches.list("eu")) == 2000


def test_a_full_state_server_stops_an_import_between_two_parts_and_says_how_far_it_came(
    own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = own_server.client()
    services = build(state, tmp_path)
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    file = tmp_path / "expected.csv"
    file.write_text("stream,result\n" + "".join(f"link,{number}\n" for number in range(4000)))
    command = ["import", str(file), "--source", "eu"]
    used: Any = state.info("memory")
    state.config_set("maxmemory", used["used_memory"] + 700_000)

    answer = CliRunner().invoke(watches, command)
    registered = state.hlen(keys.expected("eu"))
    assert 0 < registered < 4000
    assert f"At least {registered} of 4000 attempts are registered" in answer.stderr
    assert state.hlen(keys.watch("eu")) == state.zcard(keys.deadlines("eu")) == registered

    state.config_set("maxmemory", 0)
    assert CliRunner().invoke(watches, command).stderr.startswith("4000 attempts are expected")
    state.close()
