"""The units in deploy/systemd start the parts of `up`, are confined, and systemd accepts them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bridge.cli import exit_codes
from bridge.runtime import processes, supervisor
from bridge.web import server
from tests.support.servers import need_program

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "deploy/systemd"
#: Unit -> the command that it runs.
COMMANDS = {"attempt-bridge.service": ("up",)} | {
    f"attempt-bridge-{name}.service": arguments for name, arguments in processes.PARTS.items()
}
#: The file is an option: `.env.example` sets the variable, and what `EnvironmentFile` sets wins over `Environment`.
PROGRAM = ("/opt/attempt-bridge/bin/attempt-bridge", "--config", "/etc/attempt-bridge/bridge.yaml")
#: Of 100, the best being 0, by `systemd-analyze security`.
EXPOSURE = 15


def entries(unit: str, key: str) -> list[str]:
    """The values of one key, in order."""
    return re.findall(rf"^{key}=(.*)$", (UNITS / unit).read_text(), re.M)


def lines_of_service(unit: str) -> list[str]:
    """The section [Service] without comments and without the command."""
    (section,) = re.findall(r"^\[Service\]\n(.+?)^\[Install\]", (UNITS / unit).read_text(), re.M | re.S)
    return [line for line in section.splitlines() if line and not line.startswith(("#", "ExecStart="))]


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """Copies of the units that run the command of this environment."""
    command = Path(sys.executable).parent / "attempt-bridge"
    for unit in COMMANDS:
        text = (UNITS / unit).read_text()
        assert PROGRAM[0] in text
        (tmp_path / unit).write_text(text.replace(PROGRAM[0], str(command)))
    return sorted(tmp_path.iterdir())


def test_there_is_a_unit_for_each_part_and_one_for_up() -> None:
    assert {path.name for path in UNITS.glob("*.service")} == set(COMMANDS)
    for unit, arguments in COMMANDS.items():
        assert entries(unit, "ExecStart") == [shlex.join([*PROGRAM, *arguments])]


def test_up_and_the_units_of_the_parts_exclude_each_other() -> None:
    assert [set(line.split()) for line in entries("attempt-bridge.service", "Conflicts")] == [
        set(COMMANDS) - {"attempt-bridge.service"}
    ]


def test_all_units_are_confined_in_the_same_way() -> None:
    first, *others = map(lines_of_service, COMMANDS)
    assert all(other == first for other in others)


@pytest.mark.parametrize("unit", COMMANDS)
def test_a_wrong_configuration_is_final_and_nothing_else_is(unit: str) -> None:
    assert entries(unit, "Restart") == ["always"]
    assert entries(unit, "StartLimitIntervalSec") == ["0"]
    final = {exit_codes.USAGE, exit_codes.CONFIGURATION}
    assert [set(map(int, line.split())) for line in entries(unit, "RestartPreventExitStatus")] == [final]


@pytest.mark.parametrize("unit", COMMANDS)
def test_a_unit_stops_its_main_process_first_and_leaves_it_the_time_that_it_takes(unit: str) -> None:
    assert entries(unit, "KillMode") == ["mixed"]
    (seconds,) = map(float, entries(unit, "TimeoutStopSec"))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    graces = [float(service["stop_grace_period"].removesuffix("s")) for service in compose.values()]
    assert seconds >= max(supervisor.STOP_SECONDS, server._GRACEFUL_SECONDS, *graces)


@pytest.mark.parametrize("unit", COMMANDS)
def test_secrets_come_from_a_file_and_the_data_is_in_the_units_own_directory(unit: str) -> None:
    assert entries(unit, "EnvironmentFile") == ["/etc/attempt-bridge/environment"]
    assert entries(unit, "StateDirectory") == ["attempt-bridge"]
    assert entries(unit, "StateDirectoryMode") == ["0700"]
    (user,) = entries(unit, "User")
    assert re.search(rf"^u {user} ", (UNITS / "attempt-bridge.sysusers.conf").read_text(), re.M)


@pytest.mark.usefixtures("starts_processes")
def test_systemd_knows_every_key_and_finds_every_program(installed: list[Path]) -> None:
    """It exits 0 also after a warning, such as one about an unknown key."""
    analyze = need_program("systemd-analyze", package="systemd")
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", *map(str, installed)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.usefixtures("starts_processes")
def test_systemd_finds_little_that_the_units_leave_open(installed: list[Path]) -> None:
    analyze = need_program("systemd-analyze", package="systemd")
    for unit in installed:
        command = [analyze, "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE}", str(unit)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout
