"""`capacity`: what it takes from options and from bridge.yaml, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.cli import run as run_line
from bridge.cli.exit_codes import CONFIGURATION, DONE, USAGE

DAY = 86_400
CONFIG = """
bridge: {name: acme, public_url: "https://b.example.org", retention: {events: 10d}, remember_attempts: 90d}
sources: {eu: {vendor: classmarker, credentials: {api_key: "${NOT_SET}"}}}
subscriptions: {one: {transport: http, url: "${NOT_SET}"}, two: {}}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run_line(["capacity", *arguments])
        return (code, *capfd.readouterr())

    return call


def kept(text: str) -> dict[str, int]:
    return {stored["kind"]: stored["kept_seconds"] for stored in json.loads(text)["stored"]}


def test_without_a_file_the_defaults_count(run: Run) -> None:
    code, out, err = run("--per-day", "1000", "--json")
    assert (code, err) == (DONE, "")
    wanted = {"events": 30, "requests": 7, "remembered attempts": 180, "deliveries": 3}
    assert kept(out) == {kind: days * DAY for kind, days in wanted.items()}


def test_the_retention_comes_from_the_file_before_its_secrets_are_set_and_options_win(run: Run) -> None:
    Path("bridge.yaml").write_text(CONFIG)
    code, out, err = run("--per-day", "1000", "--retention-requests", "1d", "--json")
    assert (code, err) == (DONE, "retention and subscriptions: bridge.yaml\n")
    wanted = {"events": 10, "requests": 1, "remembered attempts": 90, "deliveries": 3}
    assert kept(out) == {kind: days * DAY for kind, days in wanted.items()}
    assert json.loads(out)["stored"][3]["count"] == 2 * 3 * 1000


def test_a_wrong_retention_in_the_file_is_named_with_its_line(run: Run) -> None:
    Path("bridge.yaml").write_text("bridge:\n  retention:\n    events: soon\n  remember_attempts: 3\n")
    code, out, err = run("--per-day", "1000")
    assert (code, out) == (CONFIGURATION, "")
    assert [line.split(": ")[0:2] for line in err.splitlines()] == [
        ["bridge.yaml:3", "bridge.retention.events"],
        ["bridge.yaml:4", "bridge.remember_attempts"],
    ]


def test_people_read_what_is_needed_and_what_to_do(run: Run) -> None:
    code, out, _ = run("--per-day", "1000000", "--peak-share", "50%")
    assert code == DONE
    assert "1,000,000 a day, 138.89 a second in the busiest hour" in out
    assert "set bridge.retention.events: 5d (now 30d)" in out
    assert (
        "cluster     3 primaries, bridge.partitions: 12; each primary 26 GB, maxmemory 37 GB, disk 76 GB, and each "
        "replica as much" in out
    )


def test_the_figures_of_a_primary_are_in_the_document_and_null_if_one_server_is_enough(run: Run) -> None:
    of_one, of_many = (json.loads(run("--per-day", number, "--json")[1]) for number in ("1000", "10000000"))
    assert of_one["cluster"] is None
    assert of_many["cluster"]["primaries"] == 24
    for part in (of_many, of_many["cluster"]):
        assert part["maxmemory_bytes"] * 0.7 == pytest.approx(part["state_bytes"])
        assert part["disk_bytes"] == 3 * part["state_bytes"]


def test_a_bridge_elsewhere_has_other_retentions_so_its_address_is_refused(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_line(["--url", "https://bridge.example.org", "capacity", "--per-day", "9"]) == USAGE
    assert "capacity works only beside the server. Remedy: leave out --url" in capfd.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [["--per-day", "0"], ["--per-day", "9", "--peak-share", "1%"], ["--per-day", "9", "--retention-events", "9"]],
)
def test_wrong_values_are_refused(run: Run, wrong: list[str]) -> None:
    code, out, err = run(*wrong)
    assert (code, out) == (USAGE, "")
    assert wrong[-2] in err
