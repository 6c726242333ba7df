"""`attempt-bridge demo`: the verdict is right in both directions, and nothing stays behind."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import requests

from tests.support.commands import Start, alive, descendants

pytestmark = pytest.mark.timeout(400)

FAULTS = ("--lose", "10%", "--duplicate", "15%", "--delay", "3s", "--reorder", "--fail-subscriber", "20%")


def figures(line: str) -> dict[str, int]:
    return {name: int(number) for name, _, number in (word.partition("=") for word in line.split())}


def test_it_names_what_a_subscriber_did_not_get_and_in_a_second_run_on_the_same_data_every_attempt_arrives_once(
    start: Start, tmp_path: Path
) -> None:
    data = ("--data-dir", str(tmp_path / "demo"))
    check_a_subscriber_that_gets_nothing_is_a_failure(start, data)
    check_every_attempt_arrives_once_in_spite_of_all_faults(start, data)


def check_a_subscriber_that_gets_nothing_is_a_failure(start: Start, data: tuple[str, ...]) -> None:
    """And beyond this machine the dashboard needs signing in."""
    faults = ("--lose", "0", "--delay", "0s", "--fail-subscriber", "100%", "--patience", "2s", "--host", "0.0.0.0")
    started = start("demo", "--once", "--attempts", "3", *faults, *data)
    assert requests.get(f"{started.ready()}/api/v1/session", timeout=10).status_code == 401
    assert started.ends() == 1
    lines = started.out.read_text().splitlines()
    assert "run 1 on" in lines[0]
    assert "dashboard and API need signing in: 0.0.0.0 is not a loopback address" in lines
    assert [line for line in lines if line.startswith("API token, shown this once: ")]
    assert [line for line in lines if line.startswith("dashboard: http://127.0.0.1:") and "?code=" in line]
    assert lines[-1] == "failed: 3 attempt(s) did not arrive everywhere exactly once"
    problems = [line for line in lines if line.startswith("problem: ")]
    assert len(problems) == 3
    assert all("crm did not get attempt.completed" in line for line in problems)
    assert not any("gradebook" in line or "in the journal" in line for line in problems)
    line = [line for line in lines if line.startswith("completed=")][-1]
    assert not {"results", "chat", "lrs"} & figures(line).keys()


def check_every_attempt_arrives_once_in_spite_of_all_faults(start: Start, data: tuple[str, ...]) -> None:
    """With every further output: what is older comes to the table and the record store too."""
    started = start("demo", "--once", "--attempts", "25", *FAULTS, "--with", "sql,notify,xapi", *data)
    assert started.ends() == 0, started.out.read_text() + started.err.read_text()
    lines = started.out.read_text().splitlines()
    assert "run 2 on" in lines[0]
    assert lines[-1] == "every attempt is in the journal exactly once and reached every subscriber"
    last = figures(lines[-2])
    assert (last["completed"], last["published"], last["missing"]) == (25, 25, 0)
    assert last["revised"] > 0
    assert last["crm"] == last["gradebook"] == last["warehouse"] == last["certificates"] >= 25
    for further in ("results", "chat", "lrs"):
        assert last[further] == last["crm"]


def test_ctrl_c_ends_it_with_a_summary_and_leaves_no_process_behind(start: Start, tmp_path: Path) -> None:
    started = start("demo", "--port", "0", "--data-dir", str(tmp_path / "demo"))
    url = started.ready()
    assert f"dashboard: {url}/ui/ (open without signing in, on this machine only)\n" in started.out.read_text()
    assert "shown this once" not in started.out.read_text()
    assert requests.get(f"{url}/api/v1/session", timeout=10).json()["name"] == "demo"
    assert requests.get(f"{url}/ui/", timeout=10).status_code == 200
    assert requests.get(f"{url}/ui/", headers={"Host": "evil.example"}, timeout=10).status_code == 403
    started.wait_for(lambda: "published=1" in started.out.read_text())
    everything = descendants(started.process.pid)
    assert len(everything) >= 10
    assert started.ends(signal.SIGINT) == 130
    assert [command for pid, command in everything.items() if alive(pid)] == []
    lines = started.out.read_text().splitlines()
    assert lines[-2] == "stopping"
    assert figures(lines[-1])["completed"] >= 1
