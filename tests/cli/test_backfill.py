"""`backfill` and `reconcile` on the command line, against ClassMarker's simulator over HTTP and a real state server."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs
from werkzeug.wrappers import Request, Response

from bridge import cli
from bridge.cli.progress import ProgressScreen, progress_text
from bridge.errors import Unreadable
from bridge.polling.backfill_jobs import Backfill, Backfills
from bridge.sdk.vendor import NormalisedAttempt, Record
from bridge.services import Services, load
from bridge.state import keys
from bridge.vendors.classmarker.simulator import Behaviour, Simulator
from tests.support.http_bridge import served
from tests.support.polling import START, journal
from tests.support.servers import serving
from tests.support.watches_api import TOKENS, access_of
from workers.polling.jobs import JobRunner

DAY = 86_400.0
CONFIG = """
demo: true
bridge: {{name: acme}}
sources:
  eu:
    vendor: classmarker
    base_url: {address}
    budget: {{calls: 1000, per: 1h}}
    credentials: {{api_key: sandbox-key, api_secret: sandbox-secret, webhook_secret: phrase}}
subscriptions: {{}}
"""


class Shell:
    """Runs command lines in this process against a simulated account; stdout and stderr are kept apart."""

    def __init__(self, capfd: pytest.CaptureFixture[str], simulator: Simulator) -> None:
        self.capfd, self.simulator = capfd, simulator
        #: Called before every answer of the vendor.
        self.before: Callable[[], None] = lambda: None
        self.calls = 0
        self.niceness: list[int] = []

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.capfd.readouterr()
        code = cli.run(arguments)
        out, err = self.capfd.readouterr()
        return code, out, err

    def json(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "-o", "json")
        assert code in (0, 4), err
        return json.loads(out)

    @Request.application
    def vendor(self, request: Request) -> Response:
        self.calls += 1
        self.before()
        return Response.from_app(self.simulator.wsgi, request.environ)

    def sit(self, count: int, *, days_ago: float = 2.0) -> list[str]:
        first = int(time.time() - days_ago * DAY)
        return [self.simulator.finish(channel="link", time_finished=first + 60 * number) for number in range(count)]


@pytest.fixture
def shell(capfd, monkeypatch, tmp_path, server) -> Iterator[Shell]:
    simulator = Simulator(7, time.time, quota_calls=10_000, behaviour=Behaviour(page_size=3))
    shell = Shell(capfd, simulator)
    monkeypatch.setenv("ATTEMPT_BRIDGE_STATE", server.url)
    monkeypatch.setenv("ATTEMPT_BRIDGE_BROKER", server.broker_url)
    monkeypatch.chdir(tmp_path)
    # Both change the process for good, which here other tests share.
    monkeypatch.setattr("bridge.monitoring.logs.configure", lambda *_: None)
    monkeypatch.setattr("os.nice", shell.niceness.append)
    with serving(shell.vendor) as address, capture_logs():
        (tmp_path / "bridge.yaml").write_text(CONFIG.format(address=address) + access_of(TOKENS))
        yield shell


@pytest.fixture
def services(shell) -> Services:
    return load()


def day(days_ago: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - days_ago * DAY))


def week(shell: Shell, *more: str) -> tuple[int, str, str]:
    return shell("backfill", "--source", "eu", "--from", day(7), "--to", day(0), "--stream", "links", *more)


def completed(state: redis.Redis) -> list[str]:
    return [attempt for kind, attempt in journal(state) if kind == "attempt.completed"]


def only_job(services: Services) -> Backfill:
    (job,) = Backfills(services.state).list()
    return job


def test_a_period_is_read_with_lines_of_progress_and_one_line_of_result(shell, services, state):
    ids = shell.sit(9)

    code, out, err = week(shell)

    job = only_job(services)
    assert code == 0, err
    assert out == f"{job.id}: done; {job.pages} pages, {job.records} records, {job.calls} calls: " + (
        f"{job.records - 9} duplicate, 9 published\n"
    )
    assert sorted(completed(state)) == sorted(ids)
    assert err.splitlines()[-1].startswith("100%")
    assert "9 new" in err
    assert shell.niceness == [10]
    assert "calls left" in err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "missing: --source, --from, --to, or a command: list, show, stop, resume, cancel."),
        (("--source", "eu"), "missing: --from, --to, or"),
        (("--source", "us", "--from", "2026-01-01", "--to", "2026-01-02"), 'unknown source: "us". Known: eu.'),
        (
            ("--source", "eu", "--from", "yesterday", "--to", "2026-01-02"),
            '"yesterday" is not a valid date. Write 2026-11-01',
        ),
        (("--source", "eu", "--from", "2026-13-01", "--to", "2026-01-02"), '"2026-13-01" is not a valid date.'),
        (("--source", "eu", "--from", "2026-01-03", "--to", "2026-01-02"), "Give a later end."),
        (("--source", "eu", "--from", "2020-01-03", "--to", "2020-01-04"), "the vendor lists nothing before 20"),
        (
            ("--source", "eu", "--from", "2126-01-03", "--to", "2126-01-04"),
            "in the future: 2126-01-03T00:00:00Z. Give",
        ),
        (("--source", "eu", "--from", "TODAY", "--to", "TODAY", "--stream", "x"), 'unknown stream of eu: "x". Known: '),
        (("--source", "eu", "--from", "TODAY", "--to", "TODAY", "--rate", "0"), "0 is not in the range x>=1."),
        (("--source", "eu", "list"), "--source, --from and --to cannot be given with list."),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(shell, arguments, problem):
    code, out, err = shell("backfill", *(day(0) if argument == "TODAY" else argument for argument in arguments))
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert problem in err
    assert shell.calls == 0


def test_a_vendor_without_a_list_says_how_its_attempts_come(shell, services, monkeypatch):
    vendor = replace(services.vendors["classmarker"], polls={})
    monkeypatch.setattr(
        "bridge.cli.backfill_local.services_over_state", lambda: replace(services, vendors={"classmarker": vendor})
    )

    code, _, err = week(shell)

    assert code == 2
    assert "ClassMarker has no list to read. Register its attempts with attempt-bridge watches import" in err


def test_a_mere_date_is_the_whole_day_and_a_moment_is_taken_as_it_is(shell, services):
    code, _, err = shell("backfill", "--source", "eu", "--from", day(3), "--to", day(3), "--stream", "links")
    assert code == 0, err
    job = only_job(services)
    assert job.last - job.first == DAY
    assert job.first % DAY == 0

    services.state.flushall()
    shell(
        "backfill",
        "--source",
        "eu",
        "--from",
        f"{day(3)}T10:00:00+02:00",
        "--to",
        f"{day(3)}T10:00",
        "--stream",
        "links",
    )
    job = only_job(services)
    assert job.last - job.first == 2 * 3600


def test_a_dry_run_says_what_would_happen_and_keeps_no_job(shell, services, state):
    shell.sit(4)

    code, out, _ = week(shell, "--dry-run", "--reprocess", "failed")

    assert code == 0
    assert out.startswith("dry run: ")
    assert "4 published. Nothing was written. 0 quarantined records and 0 stored requests would be" in out
    assert completed(state) == []
    assert Backfills(services.state).list() == []


def test_reading_stored_ones_again_wants_a_yes(shell, services, state):
    shell.sit(2)

    code, _, err = week(shell, "--reprocess", "failed")
    assert code == 0
    assert "0 quarantined records and 0 stored requests would be processed again. Nothing was done; add --yes" in err
    assert shell.calls == 0

    code, _, _ = week(shell, "--reprocess", "failed", "--yes")
    assert code == 0
    assert len(completed(state)) == 2


def test_ctrl_c_stops_after_the_page_at_hand_and_says_how_to_go_on(shell, services, state):
    ids = shell.sit(12)
    shell.before = lambda: os.kill(os.getpid(), signal.SIGINT) if shell.calls == 2 else None

    code, out, err = week(shell)

    job = only_job(services)
    assert code == 130
    assert f"{job.id}: stopped; 2 pages" in out
    assert "stopping after the current page" in err
    assert f"continue with attempt-bridge backfill resume {job.id}" in err
    assert 0 < len(completed(state)) < 12
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    code, out, _ = shell("backfill", "resume", job.id)
    assert code == 0
    assert sorted(completed(state)) == sorted(ids)
    assert shell("backfill", "resume", job.id)[0] == 3


def test_a_second_ctrl_c_stops_at_once_and_the_job_can_be_resumed(shell, services, state):
    ids = shell.sit(12)

    def twice() -> None:
        if shell.calls == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

    shell.before = twice
    assert week(shell)[0] == 130
    job = only_job(services)
    assert job.state == "stopped"

    assert shell("backfill", "resume", job.id)[0] == 0
    assert sorted(completed(state)) == sorted(ids)


def test_stop_and_cancel_reach_a_running_one(shell, services):
    shell.sit(12)
    answers = []

    def ask(what: str) -> Callable[[], None]:
        def at_the_second_call() -> None:
            if shell.calls == 2:
                (running,) = (job for job in Backfills(services.state).list() if job.state == "running")
                answers.append(cli.run(["backfill", what, running.id]))

        return at_the_second_call

    shell.before = ask("stop")
    assert week(shell)[0] == 130
    assert only_job(services).state == "stopped"
    services.state.flushall()
    shell.calls = 0
    shell.before = ask("cancel")
    assert week(shell)[0] == 130
    job = only_job(services)
    assert job.state == "cancelled"
    assert answers == [0, 0]
    assert shell("backfill", "stop", job.id)[0] == 3
    assert shell("backfill", "cancel", job.id)[0] == 3
    assert shell("backfill", "resume", job.id)[0] == 3


def test_one_that_nobody_runs_is_cancelled_at_once(shell, services):
    job = Backfill(id="eu/1", source="eu", first=1.0, last=2.0, streams=["links"], state="stopped")
    Backfills(services.state).save(job, START)

    code, _, err = shell("backfill", "cancel", "eu/1")

    assert (code, err) == (0, "eu/1 is cancelled\n")
    assert only_job(services).state == "cancelled"
    assert services.state.exists(keys.lease("backfill:eu")) == 0


def test_a_second_backfill_of_the_same_source_is_refused(shell, services):
    other = Backfill(id="eu/1", source="eu", first=1.0, last=2.0, streams=["links"])
    assert Backfills(services.state).lease(other, "x").hold()

    code, _, err = week(shell)

    assert code == 1
    assert err.splitlines()[-1].startswith(
        "Error: eu/1 is reading from eu. Wait for it, or stop it with `attempt-bridge backfill stop`"
    )
    assert shell.calls == 0


def test_a_failure_is_one_line_with_the_way_on(shell, services):
    shell.simulator.api_key = "another"

    code, out, err = week(shell)

    assert code == 1
    assert ": failed; 0 pages" in out
    assert err.count("source eu: ") == 1
    assert f"continue with attempt-bridge backfill resume {only_job(services).id}" in err


def test_list_and_show_print_where_it_stands(shell, services):
    assert shell("backfill", "list")[0] == 0
    shell.sit(12)
    shell.before = lambda: os.kill(os.getpid(), signal.SIGINT) if shell.calls == 2 else None
    week(shell)
    job = only_job(services)

    (row,) = shell.json("backfill", "list")
    assert (row["id"], row["state"], row["pages"], row["new"]) == (job.id, "stopped", 2, 5)
    assert shell.json("backfill", "list", "--source", "eu") == [row]
    shown = shell.json("backfill", "show", job.id)
    assert shown["streams"] == {"links": job.cursors["links"]}
    assert shown["read"] == row["read"]
    assert shell("backfill", "show", "eu/nothing")[0] == 3
    code, out, _ = shell("backfill", "list")
    assert (code, job.id in out) == (0, True)


def test_unreadable_records_end_it_with_4_and_the_place_where_they_are(shell, services, monkeypatch):
    first, *_ = shell.sit(3)
    vendor = services.vendors["classmarker"]

    def normalise(record: Record, now: float, options: Any) -> NormalisedAttempt:
        result = vendor.normalise(record, now, options)
        if result.attempt_id == first:
            raise Unreadable("its score is no number")
        return result

    changed = replace(services, vendors={"classmarker": replace(vendor, normalise=normalise)})
    monkeypatch.setattr("bridge.cli.backfill_local.services_over_state", lambda: changed)

    code, out, err = week(shell)

    assert code == 4
    assert "2 published, 1 quarantined" in out
    assert "1 unreadable records: see attempt-bridge dead-letters list --quarantine" in err


def test_progress_says_what_is_read_what_is_left_and_why_it_waits():
    job = Backfill(id="eu/1", source="eu", first=0.0, last=1.0, streams=["links"], pages=1200, records=4000)
    job.count({"published": 7, "revised": 2, "duplicate": 9})
    base = "1,200 pages, 4,000 records, 9 new, 14 calls left"
    assert progress_text(job, 14, None) == base
    assert progress_text(job, 14, 45.0) == f"{base}, about 45 s left"
    assert progress_text(job, 14, 600.0) == f"{base}, about 10 min left"
    assert progress_text(job, 14, 12_600.0) == f"{base}, about 3.5 h left"
    assert progress_text(job, 14, None, "no call is left", START) == (
        f"{base}; waiting until 2027-01-15T08:00:00.000Z: no call is left"
    )


def test_off_a_terminal_a_line_comes_every_tenth_and_for_every_new_reason(shell, services):
    job = Backfill(id="eu/1", source="eu", first=0.0, last=1000.0, streams=["links"])
    shell.capfd.readouterr()

    with ProgressScreen(services, job) as screen:
        for position in range(0, 1001, 10):
            job.cursors["links"] = str(position)
            screen.show(job, None, None)
        for _ in range(3):
            screen.show(job, "no call is left", services.now() + 60)

    lines = shell.capfd.readouterr().err.splitlines()
    assert len(lines) == 12
    assert [line[:4] for line in lines[:3]] == ["  0%", " 10%", " 20%"]
    assert "waiting until" in lines[-1]


def test_on_a_terminal_it_is_a_bar(shell, services, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    job = Backfill(id="eu/1", source="eu", first=0.0, last=1000.0, streams=["links"], cursors={"links": "500"})
    shell.capfd.readouterr()

    with ProgressScreen(services, job) as screen:
        screen.show(job, None, None)

    assert "50%" in shell.capfd.readouterr().err


# reconcile --------------------------------------------------------------------------------------------------------


def test_reconcile_prints_days_delays_and_ids_and_ends_with_4_while_something_is_missing(shell, services, state):
    ids = shell.sit(12)

    code, out, err = shell("reconcile", "--source", "eu", "--since", "7d")

    assert code == 4, err
    assert "missing (12, listed, never published): " in out
    assert "and 2 more (-o json has all)" in out
    assert "records read" in out
    whole = shell.json("reconcile", "--source", "eu", "--since", "7d")
    assert sorted(whole["ids"]["missing"]) == sorted(ids)
    assert completed(state) == []

    code, out, _ = shell("reconcile", "--source", "eu", "--fix")
    assert code == 0
    assert "12 published now" in out
    assert sorted(completed(state)) == sorted(ids)
    code, out, _ = shell("reconcile", "--source", "eu")
    assert code == 0
    assert "poll only (12, found by poll, no webhook came): " in out


def test_reconcile_show_prints_the_last_result_without_a_call(shell, services):
    assert shell("reconcile", "show")[0] == 3
    shell.sit(1)
    made = shell.json("reconcile", "--source", "eu")
    calls = shell.calls

    assert shell.json("reconcile", "show", "--source", "eu") == made
    assert shell.json("reconcile", "show", made["id"]) == made
    assert [row["id"] for row in shell.json("reconcile", "list", "--source", "eu")] == [made["id"]]
    for wrong in (made["id"], "eu", "eu/1"):
        assert shell("reconcile", "stop", wrong)[0] == 3
    code, out, _ = shell("reconcile", "show")
    assert (code, shell.calls) == (0, calls)
    assert "missing (1, " in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "missing: --source, or a command: list, show, stop."),
        (("--source", "us"), 'unknown source: "us". Known: eu.'),
        (("--source", "eu", "--since", "100d"), "the vendor lists nothing before 20"),
        (("--source", "eu", "--since", "1s"), "Give a later end."),
        (("--source", "eu", "--fix", "show"), "--source, --since and --fix cannot be given with show."),
    ],
)
def test_reconcile_refuses_in_one_line(shell, arguments, problem):
    code, out, err = shell("reconcile", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert problem in err


def test_ctrl_c_ends_a_reconciliation_without_a_result(shell, services):
    shell.sit(12)
    shell.before = lambda: os.kill(os.getpid(), signal.SIGINT) if shell.calls == 2 else None

    code, out, err = shell("reconcile", "--source", "eu")

    assert (code, out) == (130, "")
    assert "no result is kept" in err
    assert shell("reconcile", "show")[0] == 3


# over the API of a bridge elsewhere ---------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(services, monkeypatch) -> Iterator[tuple[str, ...]]:
    """Options of a bridge over HTTP, with a worker that takes jobs as long as its heartbeat is there."""
    # Nobody makes the polls that are due and would go first.
    monkeypatch.setattr("workers.polling.listing._LONGEST_YIELD", 0.0)
    stop, runner = threading.Event(), JobRunner(services)
    services.state.set(keys.heartbeat("worker"), "1")

    def work() -> None:
        while not stop.wait(0.02):
            if services.state.exists(keys.heartbeat("worker")):
                for kind, ident in services.open_jobs.all():
                    runner.run(kind, ident)

    worker = threading.Thread(target=work)
    with served(services) as address:
        worker.start()
        yield ("--url", address, "--token", TOKENS["operator"])
        stop.set()
        worker.join(10)
        assert not worker.is_alive()


def without_names(text: str) -> str:
    """Without ids, times and lines of progress, which differ from run to run."""
    text = re.sub(r"(?m)^ *\d+%.*\n", "", text)
    return re.sub(r"\d{8}T\d{6}(-\w+)?|\d{4}-\d\d-\d\dT[\d:.]+Z|\d+ calls left", "*", text)


@pytest.mark.long
def test_commands_print_the_same_whether_this_process_reads_or_a_worker_elsewhere(shell, services, elsewhere) -> None:
    shell.sit(4)
    period = ("--source", "eu", "--from", day(3), "--to", day(0), "--stream", "links")
    lines = [
        ("backfill", *period, "--dry-run", "--reprocess", "failed"),
        ("backfill", *period, "--reprocess", "failed"),
        ("reconcile", "--source", "eu", "--since", "3d"),
        ("backfill", *period),
        ("reconcile", "show"),
        ("reconcile", "--source", "zz"),
        ("sources", "test", "eu"),
        ("sources", "test", "zz"),
    ]
    runs = []
    for where in ((), elsewhere):
        runs.append(
            [
                (code, *map(without_names, out_and_err))
                for code, *out_and_err in (shell(*where, *line) for line in lines)
            ]
        )
        if not where:
            keep = services.state.get(keys.heartbeat("worker"))
            services.state.flushall()
            services.state.set(keys.heartbeat("worker"), keep)
    for line, here, there in zip(lines, *runs, strict=True):
        assert here == there, line
    assert [code for code, *_ in runs[0]] == [0, 0, 4, 0, 0, 2, 0, 2]


def test_ctrl_c_stops_a_backfill_elsewhere_and_list_show_and_resume_find_it(shell, services, elsewhere, state) -> None:
    ids = shell.sit(12)
    shell.before = lambda: os.kill(os.getpid(), signal.SIGINT) if shell.calls == 2 else time.sleep(0.2)
    code, out, err = shell(
        *elsewhere, "backfill", "--source", "eu", "--from", day(7), "--to", day(0), "--stream", "links"
    )
    (job,) = [job for job in Backfills(services.state).list() if not job.dry_run]
    assert (code, job.state) == (130, "stopped"), err
    assert f"{job.id}: stopped; " in out
    assert "stopping after the current page" in err
    assert f"continue with attempt-bridge backfill resume {job.id}" in err
    shell.before = lambda: None
    assert shell("backfill", "list", "-o", "json")[1] == shell(*elsewhere, "backfill", "list", "-o", "json")[1]
    assert shell("backfill", "show", job.id[:8])[1] == shell(*elsewhere, "backfill", "show", job.id)[1]
    assert shell(*elsewhere, "backfill", "resume", job.id)[0] == 0
    assert sorted(completed(state)) == sorted(ids)
    assert shell(*elsewhere, "backfill", "resume", job.id)[0] == 3


def test_a_job_that_no_worker_takes_ends_the_command_in_one_line_and_a_terminal_may_take_it(
    shell, services, elsewhere, monkeypatch
) -> None:
    monkeypatch.setattr("bridge.cli.worker_jobs._PATIENCE_SECONDS", 0.0)
    services.state.delete(keys.heartbeat("worker"))
    shell.sit(2)
    code, _, err = shell(*elsewhere, "backfill", "--source", "eu", "--from", day(7), "--to", day(0))
    job = only_job(services)
    no_worker = "no worker runs. Remedy: start attempt-bridge worker and attempt-bridge beat"
    assert (code, err.splitlines()[-1]) == (69, f"Error: {job.id} waits: {no_worker}")
    assert shell(*elsewhere, "sources", "test", "eu")[::2] == (69, f"Error: {no_worker}\n")
    assert shell("backfill", "resume", job.id)[0] == 0
    assert only_job(services).state == "done"
    assert services.open_jobs.all() == []
