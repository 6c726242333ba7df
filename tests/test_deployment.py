"""Procfile, compose file and image start what `up` starts, and the server of each has the same durable settings."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.cli import COMMANDS
from bridge.runtime import processes
from bridge.state import embedded_server

ROOT = Path(__file__).parents[1]
#: Settings that hold the promise "nothing acknowledged is lost" and the figures of memory.
DURABLE = (
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "save",
    "maxmemory-policy",
    "hash-max-listpack-entries",
    "stream-node-max-bytes",
    "stream-node-max-entries",
)


@pytest.fixture
def compose() -> dict[str, Any]:
    result: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return result


def instructions(name: str) -> list[str]:
    """The values of one instruction of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(f"{name} ")]


def build(source: Path, target: Path) -> zipfile.ZipFile:
    """The wheel of a source tree, by the locked backend."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    return zipfile.ZipFile(wheel)


def test_every_part_is_a_command() -> None:
    assert [arguments[0] for arguments in processes.PARTS.values()] == list(processes.PARTS)
    assert set(processes.PARTS) <= set(COMMANDS)


def test_the_procfile_starts_the_same_parts_as_up() -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert lines == {name: shlex.join(["attempt-bridge", *arguments]) for name, arguments in processes.PARTS.items()}


def test_compose_starts_the_same_parts_as_up(compose: dict[str, Any]) -> None:
    started = {name: service for name, service in compose["services"].items() if name != "valkey"}
    assert set(started) == set(processes.PARTS)
    for name, arguments in processes.PARTS.items():
        assert tuple(started[name]["command"][: len(arguments)]) == arguments


def test_there_is_one_beat(compose: dict[str, Any]) -> None:
    assert compose["services"]["beat"]["deploy"] == {"replicas": 1}


def test_every_service_has_a_health_check_and_waits_for_the_state_server(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["valkey"]["healthcheck"]["test"]
    for name in processes.PARTS:
        assert services[name]["depends_on"] == {"valkey": {"condition": "service_healthy"}}
        if name != "web":  # the image checks /livez itself
            assert services[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "bridge.runtime.healthcheck", name]
    assert "/livez" in "".join(instructions("HEALTHCHECK"))


def test_the_state_server_of_compose_is_as_durable_as_the_embedded_one(compose: dict[str, Any]) -> None:
    program, *arguments = compose["services"]["valkey"]["command"]
    assert program == "valkey-server"
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    ours = dict(line.split(maxsplit=1) for line in embedded_server.DURABLE.splitlines())
    assert {name: given[f"--{name}"] for name in DURABLE} == {name: ours[name].strip('"') for name in DURABLE}
    assert compose["services"]["valkey"]["volumes"] == ["state:/data"]
    assert "state" in compose["volumes"]


def test_images_are_pinned_and_no_secret_is_written_down(compose: dict[str, Any]) -> None:
    assert re.fullmatch(r"valkey/valkey:\d+\.\d+\.\d+", compose["services"]["valkey"]["image"])
    assert all(re.match(r"python:3\.\d+-slim\b", image) for image in instructions("FROM"))
    text = (ROOT / "docker-compose.yml").read_text()
    assert "redis://:${VALKEY_PASSWORD" in text
    assert not re.search(r"(PASSWORD|SECRET|TOKEN|_KEY)\w*: *[\"']?(?!\$\{)[\w-]{8,}", text)


def test_the_example_environment_has_what_compose_wants(compose: dict[str, Any]) -> None:
    wanted = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    wanted -= {"NAME", "ENV_NAME"}
    given = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    assert wanted == {"VALKEY_PASSWORD"}
    assert wanted <= given


def test_the_image_runs_as_nobody_special_from_hashed_files_and_ends_on_sigterm() -> None:
    (user,) = instructions("USER")
    uid, gid = map(int, user.split(":"))
    assert min(uid, gid) >= 10_000
    (made,) = [line for line in instructions("RUN") if "useradd" in line]
    assert f"groupadd --system --gid {gid} bridge" in made
    assert f"useradd --system --uid {uid} --gid {gid} " in made
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert len(instructions("FROM")) == 2
    installs = [line for line in instructions("RUN") for line in line.split("&&") if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert instructions("ENTRYPOINT") == ['["attempt-bridge"]']


def test_everything_that_the_image_copies_is_there_and_let_through() -> None:
    allowed = [line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    for line in instructions("COPY"):
        *sources, _target = (word for word in line.split() if not word.startswith("--"))
        if "--from=" in line:
            continue
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(Path(source).match(pattern) for pattern in allowed), source


@pytest.mark.usefixtures("starts_processes")
def test_an_installed_bridge_has_the_subscribers_of_the_demo_its_scripts_schemas_types_and_example_file(
    tmp_path: Path,
) -> None:
    wheel = build(ROOT, tmp_path)
    packed = set(wheel.namelist())
    wanted = {f"bridge/sandbox/examples/{file.name}" for file in (ROOT / "examples").glob("*.py")}
    wanted |= {f"{package}/py.typed" for package in ("bridge", "workers", "schemas")}
    assert wheel.read("bridge/bridge.example.yaml") == (ROOT / "bridge.example.yaml").read_bytes()
    for package in ("bridge", "workers", "schemas"):
        files = (ROOT / package).rglob("*")
        wanted |= {str(file.relative_to(ROOT)) for file in files if file.suffix in (".py", ".lua", ".json", ".yaml")}
    assert wanted <= packed


@pytest.mark.usefixtures("starts_processes")
def test_the_image_is_built_from_all_that_the_wheel_is_made_of(tmp_path: Path) -> None:
    """The same wheel from what the Dockerfile copies as from the repository."""
    context = tmp_path / "src"
    context.mkdir()
    for line in instructions("COPY"):
        *sources, target = line.split()
        for source in () if "--from=" in line else sources:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy2
            copy(ROOT / source, context / target / (source if target == "./" else ""))
    ours, image = build(ROOT, tmp_path / "ours"), build(context, tmp_path / "image")
    assert sorted(image.namelist()) == sorted(ours.namelist())


def test_scripts_demo_is_the_demo_command() -> None:
    script = ROOT / "scripts" / "demo"
    assert script.stat().st_mode & 0o111
    assert 'exec .venv/bin/attempt-bridge demo "$@"' in script.read_text()
