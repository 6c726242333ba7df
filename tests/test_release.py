"""`scripts/release` over a repository of its own: refuses, shows, releases, and puts back what it had begun."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.servers import need_program

ROOT = Path(__file__).parents[1]
#: What a wheel is made of; the rest of the repository only makes the copy slow.
BUILT_FROM = (
    *("bridge", "workers", "schemas", "examples"),
    *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "bridge.example.yaml"),
)
CHANGELOG = """# Changelog

## Unreleased

### Added

- One thing.

## 1.2.0 - 2026-10-01

- An older thing.
"""


class Repository:
    """The script with the version 1.2.0 on branch main; `scripts/check` passes unless a test says otherwise.

    `sources`: what else of this repository it has. Without any, only a stand-in can build it.
    """

    def __init__(self, directory: Path, sources: Iterable[str] = ()) -> None:
        need_program("git")
        self.directory = directory
        directory.mkdir()
        for name in ("scripts", ".gitignore", *sources):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, directory / name)
        # Neither the user's identity, signing key and hooks, nor a Docker daemon, whatever this machine has.
        self.environment = os.environ | {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "DOCKER_HOST": f"unix://{directory}/no-docker.sock",
            **{f"GIT_{role}_NAME": "A. Maintainer" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "maintainer@example.test" for role in ("AUTHOR", "COMMITTER")},
        }
        # The environment of these tests instead of an installation of its own.
        build = f'exec {sys.executable} "$@"' if sources else 'mkdir dist; echo "$@" >dist/built'
        self.program(".venv/bin/python", build)
        self.program("scripts/check", "echo checked")
        self.write("bridge/__init__.py", '"""A docstring."""\n\n__version__ = "1.2.0"\n')
        self.git("init", "--quiet", "--initial-branch", "main")
        self.write("CHANGELOG.md", CHANGELOG)
        self.commit()

    def program(self, name: str, line: str) -> None:
        self.write(name, f"#!/bin/sh\n{line}\n")
        (self.directory / name).chmod(0o755)

    def write(self, name: str, text: str) -> None:
        (self.directory / name).parent.mkdir(parents=True, exist_ok=True)
        (self.directory / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.directory / name).read_text()

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.directory, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "as it was")

    def state(self) -> tuple[str, ...]:
        """Everything that a release changes, dist/ aside."""
        files = tuple(self.read(name) for name in ("bridge/__init__.py", "CHANGELOG.md"))
        return (*files, self.git("rev-parse", "HEAD"), self.git("tag", "--list"), self.git("status", "--porcelain"))

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        script = [self.directory / "scripts/release", *arguments]
        return subprocess.run(script, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture
def repository(starts_processes: None, tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_a_dry_run_shows_every_step_and_changes_nothing(repository: Repository) -> None:
    before = repository.state()
    done = repository.release("--dry-run", "1.3.0")
    assert (done.returncode, done.stderr) == (0, "")
    steps = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("+ ")]
    assert steps == ["scripts/check", "set_version", "date_changelog", "rm", ".venv/bin/python", "git", "git"]
    assert "version: 1.2.0 -> 1.3.0\nchangelog: 1 entries\n" in done.stdout
    assert "checked" not in done.stdout
    assert repository.state() == before
    assert not (repository.directory / "dist").exists()


def test_a_release_has_its_version_changelog_files_commit_and_tag(starts_processes: None, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", BUILT_FROM)
    before = datetime.now(UTC).date()
    done = repository.release("1.3.0")
    assert done.returncode == 0, done.stderr
    assert "stopped" not in done.stderr
    assert "checked\n" in done.stdout
    assert "image: not built" in done.stdout

    assert '__version__ = "1.3.0"\n' in repository.read("bridge/__init__.py")
    days = [before + timedelta(days=later) for later in range(2)]
    assert repository.read("CHANGELOG.md") in [
        CHANGELOG.replace("## Unreleased\n", f"## Unreleased\n\n## 1.3.0 - {day}\n") for day in days
    ]
    assert repository.git("log", "-1", "--format=%s") == "Release 1.3.0"
    assert repository.git("cat-file", "-t", "v1.3.0") == "tag"
    assert repository.git("rev-parse", "v1.3.0^{commit}") == repository.git("rev-parse", "HEAD")
    assert repository.git("status", "--porcelain") == ""

    built = sorted(path.name for path in (repository.directory / "dist").iterdir())
    assert built == ["attempt_bridge-1.3.0-py3-none-any.whl", "attempt_bridge-1.3.0.tar.gz"]
    wheel = zipfile.ZipFile(repository.directory / "dist" / built[0])
    assert b'__version__ = "1.3.0"' in wheel.read("bridge/__init__.py")
    assert re.search(rb"^Version: 1\.3\.0$", wheel.read("attempt_bridge-1.3.0.dist-info/METADATA"), re.M)
    pages = [path for name in ("templates", "static") for path in (ROOT / "bridge/web/ui" / name).rglob("*")]
    names = {str(path.relative_to(ROOT)) for path in pages if path.is_file()}
    assert len(names) > 20
    assert names <= set(wheel.namelist())
    with tarfile.open(repository.directory / "dist" / built[1]) as source:
        assert "attempt_bridge-1.3.0/bridge.example.yaml" in source.getnames()


def test_the_first_release_may_have_the_version_that_is_there(repository: Repository) -> None:
    repository.write("CHANGELOG.md", CHANGELOG.replace("## 1.2.0", "## 1.1.0"))
    repository.commit()
    assert repository.release("1.2.0").returncode == 0
    assert repository.git("tag", "--list") == "v1.2.0"


def test_the_image_is_built_and_labelled_where_docker_answers(repository: Repository, tmp_path: Path) -> None:
    calls = tmp_path / "docker-calls"
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\necho "$@" >>{calls}\n')
    docker.chmod(0o755)
    repository.environment["PATH"] = f"{docker.parent}{os.pathsep}{repository.environment['PATH']}"
    assert repository.release("1.3.0").returncode == 0
    label = "org.opencontainers.image.version=1.3.0"
    assert calls.read_text() == f"info\nbuild --label {label} --tag attempt-bridge:1.3.0 .\n"


@pytest.mark.parametrize(
    "arguments", [(), ("1.3",), ("v1.3.0",), ("1.3.0", "1.4.0"), ("1.03.0",), ("--force", "1.3.0")]
)
def test_anything_but_one_version_is_wrong_use(repository: Repository, arguments: tuple[str, ...]) -> None:
    before = repository.state()
    done = repository.release(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: scripts/release")
    assert repository.state() == before


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("untracked", "the work tree is not clean"),
        ("branch", "on branch later. Releases are made on main."),
        ("tag", "tag v1.10.0 exists"),
        ("lower", "version 1.10.0 is lower than 1.11.0"),
        ("empty", 'CHANGELOG.md has no entry under "## Unreleased"'),
        ("section", "CHANGELOG.md has a section for 1.10.0 already"),
    ],
)
def test_a_release_that_would_be_wrong_is_refused(repository: Repository, trouble: str, message: str) -> None:
    if trouble == "untracked":
        repository.write("bridge/forgotten.py", "")
    elif trouble == "branch":
        repository.git("switch", "--quiet", "--create", "later")
    elif trouble == "tag":
        repository.git("tag", "v1.10.0")
    elif trouble == "lower":
        repository.write("bridge/__init__.py", '__version__ = "1.11.0"\n')
    elif trouble == "empty":
        repository.write("CHANGELOG.md", CHANGELOG.replace("- One thing.\n", ""))
    else:
        repository.write("CHANGELOG.md", CHANGELOG.replace("## 1.2.0", "## 1.10.0"))
    if trouble in ("lower", "empty", "section"):
        repository.commit()
    before = repository.state()
    for arguments in (["1.10.0"], ["--dry-run", "1.10.0"]):
        done = repository.release(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith(f"release: {message}")
        assert repository.state() == before


@pytest.mark.parametrize("step", ["check", "build", "commit"])
def test_a_step_that_fails_leaves_everything_as_it_was(repository: Repository, step: str) -> None:
    if step == "check":
        repository.program("scripts/check", "echo trouble >&2; exit 7")
        repository.commit()
    elif step == "build":
        repository.program(".venv/bin/python", "echo trouble >&2; exit 7")
    else:
        repository.program(".git/hooks/pre-commit", "echo trouble >&2; exit 7")
    before = repository.state()
    done = repository.release("1.3.0")
    assert done.returncode != 0
    assert "trouble\n" in done.stderr
    assert "released" not in done.stdout
    assert repository.state() == before


def test_a_tag_that_cannot_be_made_leaves_a_commit_and_says_how_to_take_it_back(repository: Repository) -> None:
    before = repository.state()
    refuse_tags = 'while read -r _ _ name; do case "$name" in refs/tags/*) exit 1 ;; esac; done'
    repository.program(".git/hooks/reference-transaction", refuse_tags)
    done = repository.release("1.3.0")
    assert done.returncode == 1
    assert "stopped" not in done.stderr
    assert repository.git("log", "-1", "--format=%s") == "Release 1.3.0"
    remedy = done.stderr.splitlines()[-1].rpartition(": git ")[2]
    repository.git(*remedy.split())
    assert repository.state() == before
