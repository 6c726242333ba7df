"""The command line against a real server: what it prints where, and with which exit code it ends."""

from __future__ import annotations

import gc
import hashlib
import hmac
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import click
import pytest

from bridge import cli, clock, registry, settings
from bridge.cli import COMMANDS
from bridge.cli.exit_codes import CONFIGURATION, FAILED, NOTHING_MATCHED, PARTLY_FAILED, UNAVAILABLE, USAGE
from bridge.cli.output import iso
from bridge.cli.trigger import _samples
from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.store import DeadLetter, Delivery
from bridge.errors import DeliveryFailed
from bridge.ingest.context import WebhookRequest
from bridge.ingest.pipeline import receive
from bridge.net.standard_webhooks import public_key_of, secret_problem
from bridge.polling.cursors import RoundReport
from bridge.quota.budgets import POLL
from bridge.runtime import up
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Ignored, Pointer, Record, Watch
from bridge.services import Services, load
from bridge.settings import Settings, read_settings
from bridge.state import keys
from bridge.vendors import classmarker
from tests.support.dispatch import Receiver, at, even, lane, publish, refuse, replaying, scheduled
from tests.support.forked import Forked
from workers.polling.poll import poll_once

ROOT = Path(__file__).parents[2]
SECRET = "phrase"
CONFIG = f"""
demo: true
bridge: {{name: acme}}
sources:
  eu: {{vendor: classmarker, credentials: {{api_key: k, api_secret: s, webhook_secret: {SECRET}}}}}
subscriptions:
  books: {{transport: celery, task: t, queue: q}}
"""
FIXTURE = json.loads((Path(classmarker.__file__).parent / "fixtures" / "webhook_link_numbers.in.json").read_text())


class Shell:
    """Runs command lines in this process; stdout and stderr are kept apart."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.capfd.readouterr()
        code = cli.run(arguments)
        out, err = self.capfd.readouterr()
        return code, out, err

    def json(self, *arguments: str) -> object:
        code, out, err = self(*arguments, "-o", "json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def shell(capfd, monkeypatch, tmp_path) -> Shell:
    (tmp_path / "bridge.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return Shell(capfd)


@pytest.fixture
def bridge(shell, server, monkeypatch) -> Services:
    """The services of the configuration that the shell uses, on the real server."""
    monkeypatch.setenv("ATTEMPT_BRIDGE_STATE", server.url)
    monkeypatch.setenv("ATTEMPT_BRIDGE_BROKER", server.broker_url)
    return load()


def deliver(bridge: Services, body: object, request_id: str = "01a1fc33-8e39-77de-8caa-893516fc5e63") -> str:
    raw = json.dumps(body).encode()
    headers = {"x-classmarker-hmac-sha256": b64encode(hmac.digest(SECRET.encode(), raw, hashlib.sha256)).decode()}
    request = WebhookRequest(id=request_id, body=raw, headers=headers, kept_headers={}, received_at=clock.now())
    return receive(bridge.ingest_context("eu"), request).outcome


def test_every_command_in_the_table_can_be_asked_for_help(shell):
    for name in COMMANDS:
        code, out, _ = shell(name, "--help")
        assert code == 0
        assert out.startswith(f"Usage: attempt-bridge {name}")


def test_help_names_every_exit_code(shell):
    _, out, _ = shell("--help")
    for code in (0, 1, 2, 3, 4, 69, 78, 130):
        assert re.search(rf"\b{code}\s", out)


def test_the_line_of_a_command_in_the_help_is_the_first_of_its_own_help():
    for name, line in COMMANDS.items():
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None
        assert f"{inspect.cleandoc(command.help or '').splitlines()[0]} ".startswith(f"{line} "), name


@pytest.mark.usefixtures("starts_processes")
@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["evnts"], {}),
        ([], {"_ATTEMPT_BRIDGE_COMPLETE": "bash_complete", "COMP_WORDS": "attempt-bridge wat", "COMP_CWORD": "1"}),
    ],
)
def test_help_suggestions_and_completion_of_commands_import_no_command(arguments, environment):
    program = (
        "import sys; from bridge import cli\n"
        "try: cli.run(sys.argv[1:])\n"
        "finally: print([name for name in sys.modules if name.partition('.')[0] in ('redis', 'celery', 'kombu', "
        "'rich', 'flask', 'marshmallow', 'workers') or name.startswith('bridge.cli.')], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert done.stderr.splitlines()[-1] == "['bridge.cli.spelling', 'bridge.cli.exit_codes', 'bridge.cli.web_address']"
    assert "watches" in done.stdout + done.stderr or arguments == ["evnts"]


def test_wrong_usage_exits_with_2_and_a_suggestion(shell):
    code, out, err = shell("sources", "lst")
    assert (code, out) == (2, "")
    assert err == "Error: No such command 'lst'. Did you mean 'list'? See attempt-bridge sources --help\n"
    assert "Did you mean 'events'?" in shell("evnts")[2]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("events", "list", "--limit", "0"), "Invalid value for '-n' / '--limit': 0 is not in the range x>=1."),
        (("events", "list", "--since", "yesterday"), '"yesterday" is not a valid time. Write 2h, 7d,'),
        (("events", "list", "--since", "5x"), '"5x" is not a valid time. Write 2h, 7d,'),
        (("events", "list", "-o", "xml"), "'xml' is not one of 'table', 'json', 'jsonl', 'yaml'."),
        (("events", "list", "--source", "us"), 'unknown source: "us". Known: eu.'),
        (("sources", "pause", "us"), 'unknown source: "us". Known: eu.'),
        (("requests", "reprocess", "--source", "us"), 'unknown source: "us". Known: eu.'),
        (("requests", "show"), "Missing argument 'REQUEST_ID'."),
        (("dead-letters", "replay"), "missing: an ID, --subscription NAME, --filter, --quarantine or"),
        (("dead-letters", "replay", "books/0:1-1", "--all"), "IDs and a filter cannot be combined. Give one of them"),
        (("dead-letters", "replay", "books/0:1-1", "quarantine/1-1"), "Replay them one after another"),
        (("dead-letters", "show", "crm/1"), 'unknown subscription: "crm". Known: books.'),
        (
            ("trigger", "classmarker", "--url", "localhost:80"),
            '"localhost:80" is not a valid web address. Write it as http',
        ),
        (
            ("trigger", "classmarker", "--url", "http://h:99999"),
            '"http://h:99999" is not a valid web address. Write it as',
        ),
        (("up", "--port", "70000"), "70000 is not in the range 0<=x<=65535."),
        (("demo", "--lose", "200%"), '"200%" is not a valid share. Write it as 10% or 0.1.'),
        (("completion", "powershell"), "'powershell' is not one of 'bash', 'zsh', 'fish'."),
        (("schema", "show", "nope"), 'unknown document: "nope". Known: '),
    ],
)
def test_every_wrong_argument_is_one_line_that_says_where_the_help_is(shell, arguments, problem):
    code, out, err = shell(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert problem in err
    assert " See attempt-bridge " in err
    assert err.endswith(" --help\n")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("STATE", "nonsense", "an address without a scheme is not supported in this version; use one of redis,"),
        ("STATE", "redis+sentinel://a", "names no primary. Remedy: write it after the sentinels, like redis+sentinel:"),
        ("STATE", "redis://a:99999", "is not a valid address: Port out of range 0-65535"),
        (
            "BROKER",
            "kafka://a",
            "is not supported over Kafka: kombu waits for no confirmation. Remedy: transport: kafka",
        ),
        ("STATE_FILE", "/nowhere", "The value of ATTEMPT_BRIDGE_STATE_FILE must be a readable file path"),
        ("LOG_LEVEL", "loud", "'loud' is not one of debug, info, warning, error"),
    ],
)
def test_a_wrong_environment_ends_with_78_and_one_line(shell, monkeypatch, name, value, problem):
    monkeypatch.setenv(f"ATTEMPT_BRIDGE_{name}", value)
    code, out, err = shell("config", "check")
    assert (code, out, err.count("\n")) == (78, "", 1), err
    assert f"ATTEMPT_BRIDGE_{name}" in err
    assert problem in err


def test_on_a_terminal_the_processes_log_for_people_by_default(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for given, chosen in (("auto", "console"), ("json", "json"), ("console", "console")):
        monkeypatch.setenv("ATTEMPT_BRIDGE_LOG_FORMAT", given)
        assert up.child_environment()["ATTEMPT_BRIDGE_LOG_FORMAT"] == chosen
    monkeypatch.delenv("ATTEMPT_BRIDGE_LOG_FORMAT")
    assert up.child_environment()["ATTEMPT_BRIDGE_LOG_FORMAT"] == "console"


def test_an_empty_variable_counts_as_unset(shell, monkeypatch):
    monkeypatch.setenv("ATTEMPT_BRIDGE_STATE", "")
    assert shell("config", "check")[0] == 0


def test_an_unwritable_directory_is_named(shell):
    code, out, err = shell("schema", "export", "/proc/nowhere")
    assert (code, out) == (1, "")
    assert err == "Error: cannot write /proc/nowhere: No such file or directory. Remedy: choose another directory\n"


def test_wrong_configuration_ends_with_78_and_one_line_per_problem(shell):
    Path("bridge.yaml").write_text(CONFIG.replace("queue: q", "queu: q"))
    code, out, err = shell("config", "check")
    assert (code, out) == (78, "")
    assert err.splitlines() == [
        'bridge.yaml:7: subscriptions.books.queu: unknown key. Did you mean "queue"?',
        "bridge.yaml:7: subscriptions.books.queue: missing: transport celery needs it",
    ]


def test_another_file_can_be_named(shell):
    code, _, err = shell("--config", "other.yaml", "config", "check")
    assert code == 78
    assert err.startswith("other.yaml: no such file")


def test_a_valid_configuration_is_reported_as_valid(shell):
    Path("bridge.yaml").write_text(CONFIG.replace("queue: q", "queue: q, data: minimal"))
    code, out, err = shell("config", "check")
    assert (code, out) == (0, "")
    assert err == "bridge.yaml: no problems; sources: 1, subscriptions: 1\n"


def test_a_new_secret_is_printed_alone_and_a_new_key_pair_with_its_public_key(shell):
    code, out, err = shell("subscriptions", "secret")
    assert (code, secret_problem(out.strip()), err) == (0, None, "")
    assert out.startswith("whsec_")
    code, out, err = shell("subscriptions", "secret", "--type", "ed25519")
    assert (code, secret_problem(out.strip())) == (0, None)
    assert err == f"# The public key, for the receiver: {public_key_of(out.strip())}\n"
    row = shell.json("subscriptions", "secret", "--type", "ed25519")
    assert (row["public_key"], row["secret"] == out.strip()) == (public_key_of(row["secret"]), False)


def test_the_check_warns_of_personal_data_without_a_filter_and_of_a_secret_that_has_expired(shell, monkeypatch):
    monkeypatch.setenv("WHSEC", "whsec_" + b64encode(b"0" * 32).decode())
    crm = "url: https://a.example.net, secrets: [{secret: '${WHSEC}', expires: 2026-01-01}]"
    Path("bridge.yaml").write_text(f"{CONFIG}  crm: {{transport: http, data: minimal, {crm}}}\n")
    code, out, err = shell("config", "check")
    assert (code, out) == (0, "")
    assert [line.split(". Remedy: ")[0] for line in err.splitlines()[:-1] if "example" not in line] == [
        "bridge.yaml: subscriptions.books: warning: names and e-mail addresses of every candidate are sent: its only "
        "filter is types",
        "bridge.yaml: subscriptions.crm: warning: secrets[0] expired at 2026-01-01T00:00:00Z; no other secret is "
        "valid: nothing is sent",
    ]


def test_the_configuration_is_shown_without_its_secrets(shell):
    shown = shell.json("config", "show")
    assert shown["sources"]["eu"]["credentials"]["webhook_secret"] == ["****"]
    assert shown["bridge"]["state"].startswith("unix://")
    assert SECRET not in json.dumps(shown)


def test_an_address_from_the_environment_can_be_shown(shell, monkeypatch, tmp_path):
    monkeypatch.setenv("BROKER", "redis://:canary@localhost:6379/5")
    (tmp_path / "bridge.yaml").write_text(CONFIG.replace("queue: q}", 'queue: q, broker: "${BROKER}"}'))
    code, out, err = shell("config", "show")
    assert (code, err) == (0, "")
    assert "broker: redis://:****@localhost:6379/5" in out


def test_a_state_that_does_not_answer_ends_with_69_and_one_line(shell, monkeypatch):
    monkeypatch.setenv("ATTEMPT_BRIDGE_STATE", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ATTEMPT_BRIDGE_BROKER", "redis://127.0.0.1:1/1")
    for command in (("events", "list"), ("requests", "list"), ("sources", "list"), ("subscriptions", "list")):
        code, out, err = shell(*command)
        assert (code, out, err.count("\n")) == (69, "", 1), command
        assert err.startswith("Error: state server: ")


def test_a_traceback_comes_with_debug_only(shell):
    assert "Traceback" not in shell("--config", "other.yaml", "config", "check")[2]
    code, _, err = shell("--debug", "--config", "other.yaml", "config", "check")
    assert code == 78
    assert "Traceback" in err


def test_an_unexpected_error_is_one_line_and_exit_code_1(shell, monkeypatch):
    monkeypatch.setattr(settings, "environment", lambda: 1 / 0)
    monkeypatch.setattr("bridge.services.environment", lambda: 1 / 0)
    code, _, err = shell("config", "check")
    assert code == 1
    line = (
        r"Error: unexpected ZeroDivisionError at test_cli\.py:\d+(?:, called at \w+\.py:\d+){3}\. Remedy: report this "
        r"line as an issue, with version \S+\n"
    )
    assert re.fullmatch(line, err)
    code, _, err = shell("--debug", "config", "check")
    assert code == 1
    assert err.startswith("Traceback")
    assert "Remedy: report this line as an issue, with version " in err.splitlines()[-1]


def test_an_empty_list_is_a_friendly_line_and_an_unmatched_filter_ends_with_3(shell, bridge):
    assert shell("events", "list") == (0, "", "no events yet\n")
    assert shell("events", "list", "--source", "eu") == (3, "", "no event matches\n")
    assert shell("requests", "list", "--outcome", "published", "-o", "json") == (3, "[]\n", "no request matches\n")
    assert shell("dead-letters", "list", "--since", "2h", "-o", "jsonl") == (3, "", "no dead letter matches\n")


def test_a_published_event_is_listed_shown_and_found_by_its_request(shell, bridge):
    assert deliver(bridge, FIXTURE["webhook"]) == "published"
    [event] = shell.json("events", "list", "--source", "eu", "--since", "1h", "--type", "attempt.completed")
    assert (event["attempt"], event["revision"], event["origin"]) == ("link:81234568", 1, "webhook")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["recorded_at"])
    code, out, _ = shell("events", "show", event["id"])
    assert (code, json.loads(out)) == (0, event["event"])
    assert json.loads(shell("events", "show", event["id"][:8])[1]) == event["event"]
    assert shell("events", "list", "--until", "2020-01-01")[0] == shell("requests", "list", "--until", "1d")[0] == 3
    [request] = shell.json("requests", "list", "--until", "2099-01-01")
    assert (request["outcome"], request["attempts"]) == ("published", ["link:81234568"])
    assert shell.json("requests", "show", request["id"][:8])["id"] == request["id"]
    assert shell("requests", "raw", request["id"])[1] == json.dumps(FIXTURE["webhook"])
    assert shell("requests", "show", "00000000-0000-7000-8000-000000000000")[0] == 3
    assert shell("events", "show", "nothing")[0] == 3


def test_a_table_is_whole_off_a_terminal_and_holds_no_control_characters(shell, bridge):
    body = json.loads(json.dumps(FIXTURE["webhook"]))
    body["result"]["link_result_id"] = "x\x1b[2J" + "y" * 200
    deliver(bridge, body)
    code, out, _ = shell("requests", "list")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out


def test_a_request_in_quarantine_is_read_again_once_the_vendors_folder_can(shell, bridge, monkeypatch):
    body = FIXTURE["webhook"] | {"test": None}
    assert deliver(bridge, body) == "quarantined"
    assert shell("requests", "reprocess", "--yes")[:2] == (1, "1 quarantined\n")
    assert len(shell.json("requests", "list")) == 1

    fixed = classmarker.VENDOR.split
    vendor = bridge.vendors["classmarker"]
    monkeypatch.setattr(
        "bridge.registry.vendors",
        lambda: {
            "classmarker": replace(
                vendor, split=lambda _, options: fixed(parse(json.dumps(FIXTURE["webhook"]).encode()), options)
            )
        },
    )
    code, out, err = shell("requests", "reprocess")
    assert (code, out) == (0, "")
    assert "1 quarantined requests would be processed again" in err
    assert shell("requests", "reprocess", "--yes")[:2] == (0, "1 published\n")
    assert shell("dead-letters", "list", "--quarantine")[2] == "no dead letters\n"
    assert [request["outcome"] for request in shell.json("requests", "list")] == ["published"]


def bury(bridge: Services, event: bytes = b'{"id": "e1"}') -> str:
    """A dead letter as dispatch writes it."""
    delivery = Delivery(id="e1", type="attempt.completed", source="eu", attempt="a", entry="1-1", tries=7, error="no")
    fields = {"delivery": delivery.to_json(), "reason": "network", "at": "1795000000.000", "event": event}
    return f"books/0:{bridge.state.xadd('ab:{0}:dead:books', fields).decode()}"


def test_one_dead_letter_is_shown_and_replayed_by_its_id(shell, bridge):
    letter_id = bury(bridge)
    [listed] = shell.json("dead-letters", "list", "--subscription", "books")
    assert (listed["id"], listed["tries"], listed["reason"]) == (letter_id, 7, "network")
    assert shell("dead-letters", "show", letter_id)[0] == 0
    assert shell("dead-letters", "replay", letter_id, "--dry-run")[1].startswith("1 of books would be replayed\n")
    with replaying(bridge):
        code, out, err = shell("dead-letters", "replay", letter_id)
    assert (code, out) == (0, "1 replayed, 0 failed\n")
    [waiting] = scheduled(bridge.state, "books")
    assert (waiting.id, waiting.tries, waiting.replays) == ("e1", 0, 1)
    assert f"{waiting.replay} replays 1\n" == err
    code, _, err = shell("dead-letters", "replay", letter_id)
    assert (code, err) == (3, f"Error: unknown ids: {letter_id}. They may be replayed already\n")


def test_a_broad_replay_says_how_many_first_and_does_it_with_yes(shell, bridge):
    bury(bridge)
    bury(bridge, event=b"")
    bury(bridge, event=b"\xff")
    assert shell("dead-letters", "replay")[0] == 2
    code, out, err = shell("dead-letters", "replay", "--all")
    assert (code, out.splitlines()[0]) == (0, "3 of books would be replayed")
    assert err == "Nothing was done; add --yes to do it.\n"
    assert len(list(bridge.deliveries.dead_letters("books"))) == 3
    with replaying(bridge):
        code, out, _ = shell("dead-letters", "replay", "--all", "--yes")
    assert (code, out) == (4, "1 replayed, 2 failed\n")
    left = list(bridge.deliveries.dead_letters("books"))
    assert all(isinstance(letter, DeadLetter) for letter in left)
    assert sorted(letter.event for letter in left) == [b"", b"\xff"]


def test_dead_letters_are_listed_up_to_a_moment(shell, bridge):
    publish(bridge.state, 1)
    no = DeliveryFailed("no", reason="refused", permanent=True)
    books = Subscription(name="books", transport="http")
    lane(bridge.state, Receiver(lambda item: no), subscription=books).step(at(clock.now()), even)
    assert len(shell.json("dead-letters", "list", "--until", "2099-01-01")) == 1
    assert shell("dead-letters", "list", "--until", "1h")[0] == NOTHING_MATCHED
    assert shell("dead-letters", "list", "--quarantine", "--until", "1h")[0] == NOTHING_MATCHED


def test_after_a_resume_waiting_retries_are_due(shell, bridge):
    publish(bridge.state, 1, 2)
    books = Subscription(name="books", transport="http", retry=RetryPolicy(schedule=(3600.0,)))
    lane(bridge.state, Receiver(refuse), subscription=books).step(at(clock.now()), even)
    assert shell("subscriptions", "resume", "books") == (0, "", "books is resumed; 2 waiting retries are due now\n")


def test_a_subscription_is_paused_and_resumed(shell, bridge):
    assert shell("subscriptions", "pause", "books")[0] == 0
    assert shell.json("subscriptions", "show", "books")["circuit"] == "paused"
    assert shell("subscriptions", "resume", "books") == (0, "", "books is resumed; 0 waiting retries are due now\n")
    [row] = shell.json("subscriptions", "list")
    assert (row["circuit"], row["target"]) == ("closed", "q")
    assert shell("subscriptions", "resume", "boks")[0] == 2


def test_sources_are_listed_with_their_budget(shell, bridge):
    [row] = shell.json("sources", "list")
    assert (row["name"], row["budget_left"], row["watches_due"]) == ("eu", "30/30", 0)
    shown = shell.json("sources", "show", "eu")
    assert set(shown["cursors"]) == set(classmarker.VENDOR.polls)


@pytest.mark.parametrize(
    "arguments",
    [
        ("events", "show", "nope"),
        ("events", "list", "--type", "nope"),
        ("requests", "show", "nope"),
        ("requests", "raw", "../../etc/passwd"),
        ("requests", "list", "--since", "9999-01-01"),
        ("requests", "reprocess"),
        ("dead-letters", "show", "books/x-y"),
        ("dead-letters", "show", "quarantine/x"),
        ("dead-letters", "show", "quarantine/1-1"),
        ("dead-letters", "replay", "--all", "--yes"),
    ],
)
def test_what_is_not_there_ends_with_3_and_one_line(shell, bridge, arguments):
    code, out, err = shell(*arguments)
    assert (code, out, err.count("\n")) == (3, "", 1), err


@pytest.mark.parametrize("since", ["0001-01-01", "1960-05-05T08:00:00Z", "99999999999999d"])
def test_a_moment_before_all_streams_means_from_the_beginning(shell, bridge, since):
    assert deliver(bridge, FIXTURE["webhook"]) == "published"
    assert len(shell.json("requests", "list", "--since", since)) == 1


def test_a_source_is_paused_and_resumed(shell, bridge):
    assert shell("sources", "resume", "eu")[2] == "eu was not paused\n"
    assert shell("sources", "pause", "eu") == (0, "", "eu is paused. Resume it with attempt-bridge sources resume eu\n")
    (row,) = shell.json("sources", "list")
    assert row["paused"] == "paused by an operator"
    assert poll_once(bridge, "eu").outcome == "paused"
    assert shell("sources", "resume", "eu") == (0, "", "eu resumes with the next poll\n")
    assert bridge.budgets.paused("eu", clock.now()) is None


def test_a_source_that_the_file_pauses_cannot_be_resumed_by_a_command(shell, bridge, tmp_path):
    (tmp_path / "bridge.yaml").write_text(CONFIG.replace("phrase}}", "phrase}, paused: true}"))
    code, _, err = shell("sources", "resume", "eu")
    assert code == 78
    assert err == (
        "bridge.yaml: sources.eu.paused: true keeps it paused. Remedy: remove the line, then attempt-bridge config "
        "reload\n"
    )


def test_a_source_is_shown_with_cursors_rounds_budget_watches_and_the_last_webhook(shell, bridge):
    now = clock.now()
    assert deliver(bridge, FIXTURE["webhook"]) == "published"
    bridge.cursors.save("eu", "links", "1767266994", now)
    report = RoundReport(stream="links", from_cursor="1", to_cursor="2", started=now, records=3, calls=1)
    report.outcomes = {"published": 2, "duplicate": 1}
    report.error = "source eu: quota is used up"
    bridge.cursors.record_round("eu", report)
    bridge.budgets.take("eu", bridge.config.sources["eu"].budget, now, spender=POLL)
    bridge.watches.open("eu", "link:7", Watch(reference={"result": "7"}, due_in=60, give_up_at=now + 600), now=now)
    result = shell.json("sources", "show", "eu")
    assert result["cursors"]["links"]["cursor"] == "1767266994"
    assert result["cursors"]["groups"] == {"cursor": None, "resume": None, "saved": None}
    (last,) = result["rounds"]
    assert (last["stream"], last["published"], last["error"]) == ("links", 2, "quota is used up")
    assert (last["from"], last["to"]) == ("1970-01-01T00:00:01.000Z", "1970-01-01T00:00:02.000Z")
    budget = result["budget"]
    assert (budget["window"], budget["calls"], budget["per"]) == ("sliding", 30, "1h")
    assert (budget["used"], budget["left"], budget["used_by_poll"]) == (1, 29, 1)
    assert budget["resets_at"] == iso(now + 3601)
    assert (budget["vendor_says"], budget["pause"]) == (None, None)
    assert [watch["watch"] for watch in result["watches"]] == ["link:7"]
    assert result["last_webhook"]["outcome"] == "published"
    _, table, _ = shell("sources", "show", "eu")
    assert re.search(r"^cursors +groups: cursor: -, resume: -, saved: -\n +links: cursor: 1767266994", table, re.M)
    assert re.search(r"^watches +watch: link:7, kind: attempt, due: ", table, re.M)


def test_a_source_is_shown_with_its_daily_window_what_the_vendor_says_and_its_pause(shell, bridge, tmp_path):
    budget = ", budget: {calls: 900, per: 1d, resets: '00:00'}}"
    (tmp_path / "bridge.yaml").write_text(CONFIG.replace("phrase}}", "phrase}" + budget))
    now = clock.now()
    bridge.budgets.record_vendor_limit("eu", 12, now + 600, now, limit=120)
    bridge.budgets.pause_until("eu", now + 300, "HTTP 429")
    result = shell.json("sources", "show", "eu")["budget"]
    assert (result["window"], result["calls"], result["left"]) == ("daily, from 00:00 UTC", 900, 12)
    assert result["resets_at"].endswith("T00:00:01.000Z")
    assert result["vendor_says"] == {"remaining": 12, "limit": 120, "resets_at": iso(now + 600)}
    assert result["pause"] == {"until": iso(now + 300), "reason": "HTTP 429"}
    bridge.budgets.pause("eu")
    _, table, _ = shell("sources", "show", "eu")
    assert "pause: until: -, reason: paused by an operator\n" in table


def test_events_that_wait_for_an_unreachable_broker_are_counted(shell, bridge):
    assert deliver(bridge, FIXTURE["webhook"]) == "published"
    assert [row["waiting"] for row in shell.json("subscriptions", "list")] == [1]
    bridge.state.xgroup_create(keys.journal(0), keys.group("books"), id="0")
    bridge.state.xreadgroup(keys.group("books"), "somebody", {keys.journal(0): ">"})
    assert [row["waiting"] for row in shell.json("subscriptions", "list")] == [1]
    assert "[+] subscription books: 0 delivered, 1 waiting, 0 to retry\n" in shell("doctor")[1]


def test_the_doctor_ends_with_1_for_a_server_that_evicts(shell, own_server, monkeypatch):
    monkeypatch.setenv("ATTEMPT_BRIDGE_STATE", own_server.url)
    monkeypatch.setenv("ATTEMPT_BRIDGE_BROKER", own_server.broker_url)
    code, out, _ = shell("doctor")
    assert code == 0
    assert "[+] maxmemory-policy: noeviction" in out
    client = own_server.client()
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.close()
    code, out, _ = shell("doctor")
    assert code == 1
    assert "[-] maxmemory-policy: allkeys-lru" in out
    assert "    remedy: CONFIG SET maxmemory-policy noeviction" in out


def test_the_doctor_ends_with_69_when_nothing_answers(shell):
    code, out, _ = shell("doctor", "-o", "json")
    assert code == 69
    assert {row["status"] for row in json.loads(out) if row["unreachable"]} == {"failure"}


class _Listener(BaseHTTPRequestHandler):
    """Verifies as the vendor documents it, with nothing from the adapter."""

    seen: list[str]
    bodies: list[dict[str, object]]

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        signature = b64encode(hmac.digest(SECRET.encode(), raw, hashlib.sha256)).decode()
        genuine = self.headers["X-Classmarker-Hmac-Sha256"] == signature
        self.seen.append(self.path)
        self.bodies.append(json.loads(raw))
        answer = b'{"outcome": "published", "request_id": "r1"}' if genuine else b"{}"
        self.send_response(200 if genuine else 401)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def listener():
    handler = type("Listener", (_Listener,), {"seen": [], "bodies": []})
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", handler
        http.shutdown()


def test_trigger_sends_a_sample_that_is_signed_with_the_configured_secret(shell, listener):
    url, handler = listener
    code, out, _ = shell("trigger", "classmarker", "--url", url, "--times", "2", "-o", "jsonl")
    assert code == 0
    assert [json.loads(line)["outcome"] for line in out.splitlines()] == ["published", "published"]
    assert handler.seen == ["/webhooks/eu"] * 2
    code, out, _ = shell(
        "trigger", "classmarker", "webhook_link_numbers", "--url", url, "--bad-signature", "-o", "json"
    )
    assert (code, json.loads(out)[0]["status"]) == (0, 401)
    assert shell("trigger", "classmarker", "--url", url, "--set", "result.first=Uma")[0] == 0
    assert shell("trigger", "classmarker", "--url", url, "--set", "nothing.here=1")[0] == 2


def test_trigger_marks_all_but_the_vendors_own_test_message_and_asks_for_yes_outside_a_demo(
    shell, listener, tmp_path, monkeypatch
):
    url, handler = listener
    here = ("--url", url)
    assert shell("trigger", "classmarker", *here)[0] == 0
    assert shell("trigger", "classmarker", "webhook_link_numbers", *here)[0] == 0
    monkeypatch.setenv("S", SECRET)
    real = CONFIG.replace("demo: true", "").replace("name: acme", 'name: acme, public_url: "http://127.0.0.1:8080"')
    (tmp_path / "bridge.yaml").write_text(re.sub(r": (k|s|phrase)([,}])", r': "${S}"\2', real))
    assert shell("trigger", "classmarker", *here)[0] == 0
    sample = ("trigger", "classmarker", "webhook_link_numbers", *here)
    disguised = ("trigger", "classmarker", *here, "--set", "payload_status=live")
    for command in (sample, disguised, (*sample, "--bad-signature")):
        code, out, err = shell(*command)
        assert (code, out) == (0, "")
        assert "Nothing was done; add --yes to do it." in err
    assert len(handler.bodies) == 3
    assert shell(*sample, "--yes")[0] == shell(*disguised, "--yes")[0] == 0
    states = [(body["payload_status"], body.get("attempt_bridge_test")) for body in handler.bodies]
    assert states == [("verify", None), ("live", True), ("verify", None), ("live", True), ("live", True)]


def test_trigger_gives_a_remedy_for_a_refusal_and_hides_the_token(shell, listener, tmp_path):
    url, handler = listener
    (tmp_path / "bridge.yaml").write_text(CONFIG.replace(SECRET, "another-one"))
    code, _, err = shell("trigger", "classmarker", "--url", url, "--token", "canary")
    assert (code, handler.seen) == (1, ["/webhooks/eu/canary"])
    assert err == (
        f"Error: {url}/webhooks/eu answered 401. Remedy: give the bridge and this configuration the same "
        "webhook secret\n"
    )
    code, _, err = shell("trigger", "classmarker", "--url", "http://127.0.0.1:1", "--token", "canary")
    assert code == 69
    assert err.startswith("Error: cannot reach http://127.0.0.1:1/webhooks/eu: ConnectionError. Remedy: ")


def test_trigger_takes_the_token_from_the_environment_or_from_standard_input(shell, listener, monkeypatch):
    url, handler = listener
    monkeypatch.setenv("ATTEMPT_BRIDGE_WEBHOOK_TOKEN", "from-the-environment")
    shell("trigger", "classmarker", "--url", url)
    monkeypatch.setattr("sys.stdin", io.StringIO("from-standard-input\n"))
    shell("trigger", "classmarker", "--url", url, "--token", "-")
    assert handler.seen == ["/webhooks/eu/from-the-environment", "/webhooks/eu/from-standard-input"]


def test_trigger_says_what_it_cannot_send(shell):
    assert "webhook_link_numbers" in shell("trigger", "classmarker", "--list")[1].splitlines()
    assert shell("trigger", "clasmarker")[0] == 2
    assert shell("trigger", "classmarker", "no-such-sample")[0] == 2
    code, _, err = shell("trigger", "classmarker", "--url", "http://127.0.0.1:1")
    assert code == 69
    assert "attempt-bridge up" in err


def test_trigger_says_in_one_line_that_a_vendor_sends_no_webhooks(shell, monkeypatch):
    polled = replace(classmarker.VENDOR, split=None, verify=None, secret_credential=None)
    monkeypatch.setattr("bridge.registry.vendors", lambda: {"classmarker": polled})
    code, out, err = shell("trigger", "classmarker")
    assert (code, out) == (2, "")
    assert "Error: ClassMarker sends no webhooks. Remedy: attempt-bridge sources poll SOURCE" in err


def test_schemas_are_written_and_shown(shell, tmp_path):
    code, out, _ = shell("schema", "export", str(tmp_path / "schemas"))
    assert code == 0
    written = [Path(line) for line in out.splitlines()]
    _, names, _ = shell("schema", "list")
    assert [path.name for path in written] == names.splitlines()
    assert shell("schema", "show", written[0].name)[1] == written[0].read_text()


@pytest.mark.usefixtures("starts_processes")  # click asks bash for its version
@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_a_completion_script_names_the_program(shell, shell_name):
    code, out, _ = shell("completion", shell_name)
    assert code == 0
    assert "_ATTEMPT_BRIDGE_COMPLETE" in out


def _environment(server) -> dict[str, str]:
    servers = {"ATTEMPT_BRIDGE_STATE": server.url, "ATTEMPT_BRIDGE_BROKER": server.broker_url}
    return {**os.environ, **servers, "PYTHONUNBUFFERED": "1"}


@pytest.mark.usefixtures("starts_processes")
def test_tail_prints_events_as_they_are_published_and_exits_with_130(shell, bridge, server):
    deliver(bridge, FIXTURE["webhook"])
    wanted = ("--since", "1h", "--type", "attempt.completed", "--source", "eu")
    command = ["-m", "bridge", "events", "tail", "-o", "jsonl", *wanted]
    # Other tests of this server may have left idle connections whose last command was a read.
    earlier = {client["id"] for client in bridge.state.client_list()}
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        tail = Forked(command, stdout=pipe, stderr=sys.__stderr__, env=_environment(server))
    stdout = os.fdopen(reading)
    try:
        assert json.loads(stdout.readline())["subject"] == "link:81234568"
        _until_a_new_client_reads(bridge, earlier)
        later = json.loads(json.dumps(FIXTURE["webhook"]))
        later["result"]["points_scored"] = 1
        assert deliver(bridge, later, request_id="01a1fc33-8e39-77de-8caa-893516fc5e64") == "revised"
        later["result"]["link_result_id"] = 7
        deliver(bridge, later, request_id="01a1fc33-8e39-77de-8caa-893516fc5e65")
        assert json.loads(stdout.readline())["subject"] == "link:7"
        tail.send_signal(signal.SIGINT)
        assert tail.wait(20) == 130
    finally:
        tail.kill()
        tail.wait()
        stdout.close()


def _until_a_new_client_reads(bridge: Services, earlier: set[str]) -> None:
    deadline = time.monotonic() + 30
    while not any(
        client["cmd"].startswith("xread") and client["id"] not in earlier for client in bridge.state.client_list()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("starts_processes")
def test_a_closed_pipe_prints_no_error(shell, bridge, server):
    for number in range(300):
        body = json.loads(json.dumps(FIXTURE["webhook"]))
        body["result"]["link_result_id"] = number
        deliver(bridge, body, request_id=f"01a1fc33-8e39-77de-8caa-{number:012d}")
    command = f"{sys.executable} -m bridge events list --limit 300 -o jsonl | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=_environment(server), timeout=60)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (1, "", 1)


def _named_in(file: str) -> set[str]:
    return set(re.findall(r"ATTEMPT_BRIDGE_[A-Z_]+[A-Z]", (ROOT / file).read_text()))


@pytest.mark.parametrize("file", [".env.example", "docs/operations.md"])
def test_the_documents_name_exactly_the_variables_of_the_settings(file):
    read = {f"{settings.PREFIX}{name.upper()}" for name in Settings.__dataclass_fields__}
    # Files in place of values, and tokens that commands read for themselves.
    names = ("CONFIG_FILE", "STATE_FILE", "WEBHOOK_TOKEN", "TOKEN", "TOKEN_FILE")
    others = {f"{settings.PREFIX}{name}" for name in names}
    assert _named_in(file) - others == read


def test_the_defaults_in_the_example_environment_are_the_programs_own(monkeypatch):
    defaults = read_settings()
    for line in (ROOT / ".env.example").read_text().splitlines():
        if line.startswith(settings.PREFIX):
            monkeypatch.setenv(*line.split("=", 1))
    assert read_settings() == defaults


def test_the_operations_guide_names_every_exit_code_and_command():
    guide = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in COMMANDS if f"`{name}" not in guide] == []
    for code in (FAILED, USAGE, NOTHING_MATCHED, PARTLY_FAILED, UNAVAILABLE, CONFIGURATION):
        assert f"| {code} |" in guide


@pytest.mark.parametrize("name", [name for name, vendor in registry.vendors().items() if vendor.split is not None])
def test_the_first_sample_of_every_vendor_is_its_test_message_or_leads_to_an_attempt(name):
    vendor = registry.vendors()[name]
    options = {option: declared.default for option, declared in vendor.options.items()}
    reading = vendor.split(next(iter(_samples(vendor).values())), options)
    if isinstance(reading, Ignored):
        assert reading.outcome == "test"
    else:
        assert [item for item in reading if isinstance(item, Record | Pointer)]
    assert name != "classmarker" or isinstance(reading, Ignored)


def removed(bridge, name="old"):
    """A subscription that was served, is no longer configured, and left one event of each kind behind."""
    for number in range(4):
        publish(bridge.state, number)
    policy = RetryPolicy(schedule=(5.0,))
    receiver = Receiver(refuse, batch=1)
    served_lane = lane(bridge.state, receiver, subscription=Subscription(name=name, transport="http", retry=policy))
    served_lane.step(at(1000.0), even)
    receiver.answer = lambda sent: DeliveryFailed("no", reason="refused", permanent=True)
    served_lane.step(at(1001.0), even)
    served_lane.leave()


def test_a_removed_subscription_is_shown_and_its_dead_letters_can_be_read(shell, bridge):
    removed(bridge)
    books, old = shell.json("subscriptions", "list")
    assert (books["name"], books["configured"]) == ("books", True)
    assert (old["name"], old["configured"], old["circuit"]) == ("old", False, "removed")
    assert (old["waiting"], old["retrying"], old["dead_letters"]) == (2, 1, 1)
    assert shell.json("subscriptions", "show", "old")["why"].startswith("no longer in bridge.yaml")
    [letter] = shell.json("dead-letters", "list", "--subscription", "old")
    assert shell.json("dead-letters", "list") == [letter]
    assert shell("dead-letters", "show", letter["id"])[0] == 0
    code, out, err = shell("dead-letters", "replay", letter["id"])
    assert (code, out) == (1, "")
    assert "subscription old is no longer in bridge.yaml. Remedy: add it again" in err
    assert shell("dead-letters", "replay", "--all", "--yes")[0] == 3
    out = shell("doctor")[1]
    assert "[!] subscription old: no longer in bridge.yaml; 2 waiting, 1 to retry, 1 dead letters" in out


def test_a_removed_subscription_is_forgotten_only_with_yes_and_lets_the_journal_go(shell, bridge):
    removed(bridge)
    code, _, err = shell("subscriptions", "forget", "old")
    assert (code, "2 waiting events, 1 retries and 1 dead letters of old would be deleted" in err) == (0, True)
    assert len(shell.json("subscriptions", "list")) == 2
    bridge.state.set(keys.heartbeat("dispatch:alive"), 1)
    bridge.state.xreadgroup(keys.group("old"), "alive", {keys.journal(0): ">"}, count=1)
    code, _, err = shell("subscriptions", "forget", "old", "--yes")
    assert (code, "still served by a dispatch process" in err) == (2, True)
    bridge.state.delete(keys.heartbeat("dispatch:alive"))
    assert shell("subscriptions", "forget", "old", "--yes")[0] == 0
    assert [row["name"] for row in shell.json("subscriptions", "list")] == ["books"]
    assert bridge.state.keys("*old*") == []
    assert bridge.state.xinfo_groups(keys.journal(0)) == []
    assert len(list(bridge.journal_reader.events())) == 4
    assert shell("subscriptions", "forget", "old", "--yes")[0] == 2


def test_a_configured_subscription_is_not_forgotten(shell, bridge):
    code, _, err = shell("subscriptions", "forget", "books", "--yes")
    assert (code, "Remove it there and run attempt-bridge config reload first" in err) == (2, True)


def test_dead_letters_of_a_removed_subscription_without_a_group_are_found(shell, bridge):
    removed(bridge)
    bridge.state.delete(keys.journal(0))
    assert len(shell.json("dead-letters", "list", "--subscription", "old")) == 1


def test_pausing_returns_when_nothing_more_is_delivered(shell, bridge, monkeypatch):
    publish(bridge.state, *range(3))
    books = bridge.config.subscriptions["books"]
    receiver = Receiver(batch=1)
    served_lane = lane(bridge.state, receiver, subscription=books)
    served_lane.step(at(1.0), even)
    bridge.state.set(keys.heartbeat("dispatch:one"), 1)

    def last_delivery(seconds):
        # The lane was sending when the pause was set, and sees it at its next step.
        receiver.got.append("under way")
        served_lane.step(at(2.0), even)

    monkeypatch.setattr("bridge.cli.subscriptions.time.sleep", last_delivery)
    assert shell("subscriptions", "pause", "books")[0] == 0
    assert receiver.got[1:] == ["under way"]
    served_lane.step(at(3.0), even)
    assert receiver.got[1:] == ["under way"]


def test_pausing_says_if_a_delivery_does_not_end(shell, bridge, monkeypatch):
    publish(bridge.state, 1)
    lane(bridge.state, Receiver(), subscription=bridge.config.subscriptions["books"]).step(at(1.0), even)
    bridge.state.set(keys.heartbeat("dispatch:one"), 1)
    monkeypatch.setattr("bridge.cli.subscriptions._PAUSE_SECONDS", 0.0)
    code, _, err = shell("subscriptions", "pause", "books")
    assert (code, "a delivery that began before has not ended" in err) == (1, True)
    assert bridge.deliveries.state("books", now=1.0).circuit == "paused"


def test_the_modules_of_a_process_are_left_to_themselves_and_what_it_makes_afterwards_is_collected(monkeypatch):
    frozen = []
    monkeypatch.setattr("gc.freeze", lambda: frozen.append(gc.isenabled()))
    monkeypatch.setattr("sys.argv", ["attempt-bridge", "version"])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert (frozen, gc.isenabled()) == ([False], True)
