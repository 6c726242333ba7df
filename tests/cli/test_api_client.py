"""Commands beside the server and with `--url`: the same output; every failure is one line and an exit code."""

from __future__ import annotations

import http.server
import io
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.cli.exit_codes import DONE, FAILED, NOTHING_MATCHED, UNAVAILABLE, USAGE
from bridge.errors import StateUnavailable
from bridge.services import Services
from tests.support.cli import Run, runner
from tests.support.http_bridge import served
from tests.support.watches_api import TOKENS, access_of, build

pytestmark = pytest.mark.long

REFERENCE = ("--ref", "stream=link", "--ref", "result=7", "--due", "2050-01-01", "--deadline", "2051-01-01")

#: Runs a command line; its exit code, stdout and stderr.


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)
    services = build(state, tmp_path, access=access_of(TOKENS))
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    return services


@pytest.fixture
def run(services: Services, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("ATTEMPT_BRIDGE_TOKEN", raising=False)

    return runner(capfd)


@pytest.fixture
def url(services: Services) -> Iterator[str]:
    with served(services) as address:
        yield address


def remote(url: str, token: str = TOKENS["operator"]) -> tuple[str, ...]:
    return ("--url", url, "--token", token)


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_command_prints_the_same_beside_the_server_and_remotely(run: Run, url: str, output: str) -> None:
    assert run("watches", "add", "--source", "eu", *REFERENCE)[0] == DONE
    ident = json.loads(run("watches", "list", "-o", "json")[1])[0]["id"]
    erasure = run("erase", "--source", "eu", "--candidate", "cand-8841", "--no-wait")[2].split()[0]
    lines = [
        ("erase", "--job", erasure, "--no-wait", "-o", output),
        ("erase", "--job", "none"),
        ("erase", "--source", "zz", "--candidate", "1"),
        ("watches", "list", "-o", output),
        ("watches", "list", "--source", "us", "-o", output),
        ("watches", "list", "--source", "zz"),
        ("watches", "list", "--state", "overdue", "-o", output),
        ("watches", "show", ident, "-o", output),
        ("watches", "show", "none"),
        ("watches", "show", "a/b?c"),
        ("watches", "add", "--source", "eu", "--ref", "stream=lnk", "-o", output),
        ("watches", "cancel", "none"),
        ("watches", "cancel", "--all", "--source", "eu"),
    ]
    for line in lines:
        assert run(*line) == run(*remote(url), *line), line
    added = run("watches", "add", "--source", "us", *REFERENCE, "-o", output)
    again = run(*remote(url), "watches", "add", "--source", "us", *REFERENCE, "-o", output)
    assert (added[0], added[2]) == (again[0], again[2]) == (DONE, "")
    assert run(*remote(url), "watches", "cancel", ident) == (DONE, "", "1 cancelled\n")


def test_a_list_is_read_page_by_page_up_to_its_limit(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("bridge.cli.api_client._MAX_LIMIT", 3)
    monkeypatch.setattr("bridge.cli.watches._BATCH", 3)
    file = tmp_path / "expected.csv"
    file.write_text("stream,result\n" + "".join(f"link,{number}\n" for number in range(8)))
    assert run(*remote(url), "watches", "import", str(file), "--source", "eu")[0] == DONE
    for where in ((), remote(url)):
        for limit, count in ((2, 2), (3, 3), (7, 7), (8, 8), (50, 8)):
            rows = json.loads(run(*where, "watches", "list", "-o", "json", "--limit", str(limit))[1])
            assert len({row["id"] for row in rows}) == count


def test_a_file_of_several_batches_is_registered_whole_or_not_at_all(
    run: Run, url: str, services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("bridge.cli.watches._BATCH_BYTES", 200)
    file = tmp_path / "expected.csv"
    file.write_text("stream,result\n" + "link,1\n" * 9 + "link,x\nlnk,3\n")
    code, _, err = run(*remote(url), "watches", "import", str(file), "--source", "eu")
    assert (code, services.expectations.list("eu")) == (FAILED, ())
    assert err.splitlines()[0].startswith(f"{file}:11: reference: result: a link needs whole numbers")
    assert err.splitlines()[1].startswith(f"{file}:12: reference: stream is")
    assert err.splitlines()[2] == "Error: 2 of 11 attempts have problems; nothing was registered"


def test_the_token_comes_from_the_environment_a_file_or_standard_input(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, _, err = run("--url", url, "watches", "list")
    assert (code, "--url needs a token. Remedy: give --token, or set ATTEMPT_BRIDGE_TOKEN" in err) == (USAGE, True)
    monkeypatch.setenv("ATTEMPT_BRIDGE_TOKEN", TOKENS["viewer"])
    assert run("--url", url, "watches", "list")[0] == DONE
    # Given behind the command, as people do.
    assert run("watches", "list", "--url", url)[0] == DONE
    monkeypatch.delenv("ATTEMPT_BRIDGE_TOKEN")
    (tmp_path / "token").write_text(TOKENS["viewer"] + "\n")
    monkeypatch.setenv("ATTEMPT_BRIDGE_TOKEN_FILE", str(tmp_path / "token"))
    assert run("--url", url, "watches", "list")[0] == DONE
    monkeypatch.setenv("ATTEMPT_BRIDGE_TOKEN_FILE", str(tmp_path / "none"))
    assert run("--url", url, "watches", "list")[0] == 78
    monkeypatch.delenv("ATTEMPT_BRIDGE_TOKEN_FILE")
    monkeypatch.setattr("sys.stdin", io.StringIO(TOKENS["viewer"] + "\n"))
    assert run("--url", url, "--token", "-", "watches", "list")[0] == DONE


@pytest.mark.parametrize("given", ["x", "ftp://h", "http://", "http://h:0", "http://u:p@h", "http://h/?q", "http://[h"])
def test_an_address_that_is_none_is_refused_at_once(run: Run, given: str) -> None:
    code, out, err = run("--url", given, "--token", "t", "watches", "list")
    assert (code, out) == (USAGE, "")
    assert "is not a valid web address. Write it as https://bridge.example.org" in err


def test_what_the_token_does_not_allow_is_one_line(run: Run, url: str) -> None:
    assert run(*remote(url, "wrong"), "watches", "list") == (
        FAILED,
        "",
        "Error: missing or unknown token. Remedy: give --token, or set ATTEMPT_BRIDGE_TOKEN\n",
    )
    code, _, err = run(*remote(url, TOKENS["viewer"]), "watches", "cancel", "x")
    assert (code, err) == (FAILED, "Error: role viewer is not sufficient: this call needs role operator\n")
    code, _, err = run("--url", url, "--token", "two words", "watches", "list")
    assert (code, "the token is not valid" in err, "two" in err) == (USAGE, True, False)
    code, _, err = run("--token", "t", "watches", "list")
    assert (code, "--token needs --url" in err) == (USAGE, True)


def test_a_bridge_that_cannot_be_reached_is_one_line_and_69(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, out, err = run(*remote(f"http://127.0.0.1:{port}"), "watches", "list")
    assert (code, out) == (UNAVAILABLE, "")
    assert err == (
        f"Error: http://127.0.0.1:{port} unreachable: Connection refused. Remedy: check --url, and that the bridge "
        "runs\n"
    )


@pytest.mark.parametrize(
    ("status", "media", "body"),
    [
        (200, "text/html", b"<html>"),
        (404, "text/html", b"<html>"),
        (404, "application/json", b'{"detail": "x"}'),
        (302, "application/json", b"{}"),
        (502, "text/html", b""),
        (500, "application/problem+json", b"["),
    ],
)
def test_what_no_bridge_answers_is_named(run: Run, status: int, media: str, body: bytes) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        assert run(*remote(address), "watches", "list") == (
            UNAVAILABLE,
            "",
            f"Error: {address} answered {status}, unlike a bridge. Remedy: check --url\n",
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("where", ["beside", "remote"])
def test_a_state_server_that_is_away_is_69_with_its_remedy(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise StateUnavailable("state server: connection refused. Remedy: start it")

    monkeypatch.setattr("bridge.watch_registration.listed", away)
    code, _, err = run(*(remote(url) if where == "remote" else ()), "watches", "list")
    assert (code, err) == (UNAVAILABLE, "Error: state server: connection refused. Remedy: start it\n")


def test_a_command_that_works_beside_the_server_alone_refuses_an_address(run: Run) -> None:
    code, _, err = run(*remote("http://127.0.0.1:1"), "config", "show")
    assert (code, "config show works only beside the server. Remedy: leave out --url" in err) == (USAGE, True)


def test_a_token_that_goes_over_the_network_unencrypted_is_announced(run: Run) -> None:
    _, _, err = run(*remote("http://bridge.invalid"), "watches", "show", "x")
    assert "warning: http://bridge.invalid gets the token unencrypted. Remedy: use https://" in err


def test_nobody_gets_the_rights_of_the_command_line_by_a_header(url: str, run: Run) -> None:
    import requests

    forged = {"attempt_bridge.caller": "cli:root", "Attempt-Bridge-Caller": "cli:root"}
    assert requests.get(f"{url}/api/v1/watches", headers=forged, timeout=10).status_code == 401
    assert run("watches", "list", "--source", "us")[0] == NOTHING_MATCHED
