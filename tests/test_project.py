"""What holds the project together: one version, locks that fit, the workflow, hooks, templates and words."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bridge import __version__
from bridge.cli import COMMANDS
from bridge.polling.vendor_http import vendor_session

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-dev.lock")
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
GLOSSARY = (ROOT / "docs/glossary.md").read_text()


def document(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def locked(name: str) -> dict[str, list[str]]:
    """Package -> its versions; several where they depend on the platform."""
    result: dict[str, list[str]] = {}
    for package, number in re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / name).read_text(), re.M):
        result.setdefault(canonicalize_name(package), []).append(number)
    return result


def requirements(lock: str) -> list[Requirement]:
    groups = PYPROJECT["dependency-groups"]
    wanted = [*PYPROJECT["project"]["dependencies"], *groups["build"]]
    if lock == "requirements-dev.lock":
        wanted += [requirement for requirement in groups["dev"] if isinstance(requirement, str)]
    return [Requirement(requirement) for requirement in wanted]


# One version ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("starts_processes")
def test_the_version_is_written_once() -> None:
    assert "version" not in PYPROJECT["project"]
    built = [sys.executable, "-m", "hatchling", "version"]
    assert subprocess.run(built, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip() == __version__
    assert version("attempt-bridge") == __version__
    assert vendor_session().headers["User-Agent"] == f"attempt-bridge/{__version__}"
    shown = [sys.executable, "-m", "bridge", "--version"]
    assert subprocess.run(shown, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[-1] == __version__


def test_the_changelog_has_what_is_unreleased_on_top_and_the_version_below_it() -> None:
    first, *released = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert first == "Unreleased"
    numbers = [re.fullmatch(r"(\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d", heading).group(1) for heading in released]
    assert numbers[:1] in ([], [__version__])
    assert numbers == sorted(numbers, key=lambda number: [int(part) for part in number.split(".")], reverse=True)


# Locks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", LOCKS)
def test_what_is_locked_is_what_pyproject_asks_for(lock: str) -> None:
    """Where this fails: `scripts/lock`."""
    have = locked(lock)
    wrong = [
        str(requirement)
        for requirement in requirements(lock)
        if not have.get(canonicalize_name(requirement.name))
        or not all(requirement.specifier.contains(number) for number in have[canonicalize_name(requirement.name)])
    ]
    assert wrong == []


def test_the_tools_move_nothing_that_is_deployed() -> None:
    deployed, tools = map(locked, LOCKS)
    assert {name: tools.get(name) for name in deployed} == deployed


def test_the_build_backend_is_locked_as_it_is_declared() -> None:
    assert PYPROJECT["build-system"]["requires"] == PYPROJECT["dependency-groups"]["build"]


# Continuous integration ----------------------------------------------------------------------------------------------


def test_the_workflow_runs_what_a_developer_runs_and_nothing_else() -> None:
    (job,) = document(".github/workflows/ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    used = [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step]
    assert used == ["actions/checkout", "actions/setup-python"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_the_workflow_begins_with_the_oldest_python_that_is_supported() -> None:
    (job,) = document(".github/workflows/ci.yml")["jobs"].values()
    assert PYPROJECT["project"]["requires-python"] == f">={job['strategy']['matrix']['python'][0]}"


def test_the_workflow_can_only_read_has_no_secret_and_ends() -> None:
    workflow = document(".github/workflows/ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] == 30
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    assert "secrets." not in text
    # Whoever takes over an action's repository can move its tags, not its commits.
    actions = re.findall(r"uses: (.+)", text)
    assert [action for action in actions if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []


# Hooks, templates ----------------------------------------------------------------------------------------------------


def test_every_hook_is_a_tool_of_the_lock_file() -> None:
    """A console script of the environment that runs these tests, which is made from the lock file."""
    for repository in document(".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            program = Path(shlex.split(hook["entry"])[0])
            assert program.parent == Path(".venv/bin")
            assert (Path(sys.executable).parent / program.name).exists(), hook["id"]


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_a_form_for_issues_is_one_that_github_shows(form: Path) -> None:
    """It hides a form silently that lacks a name, or has an id twice or a field without a label."""
    result = document(f".github/ISSUE_TEMPLATE/{form.name}")
    if form.name == "config.yml":
        assert result == {"blank_issues_enabled": True}
        return
    assert result["name"]
    assert result["description"]
    fields = [block for block in result["body"] if block["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert len({field["attributes"]["label"] for field in fields}) == len(fields)
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown", "checkboxes"}


def test_dependencies_are_asked_for_once_a_week_and_not_on_their_first_day() -> None:
    result = document(".github/dependabot.yml")
    assert result["version"] == 2
    updates = {update["package-ecosystem"]: update for update in result["updates"]}
    assert set(updates) == {"pip", "github-actions"}
    for update in updates.values():
        assert update["schedule"] == {"interval": "weekly"}
        assert update["cooldown"]["default-days"] == 7


# Words ---------------------------------------------------------------------------------------------------------------


def test_the_glossary_has_each_word_once_in_alphabetical_groups() -> None:
    groups = [
        re.findall(r"^\| ([a-z][a-z -]*?) \| .+ \|$", requirement, re.M) for requirement in GLOSSARY.split("\n## ")[1:]
    ]
    groups = [[word for word in group if word != "word"] for group in groups]
    assert groups == [sorted(group) for group in groups]
    words = [word for group in groups for word in group]
    assert len(set(words)) == len(words)


def test_every_noun_of_the_command_line_is_in_the_glossary() -> None:
    irregular = {"watches": "watch", "deliveries": "delivery", "stats": "stats"}
    nouns = {irregular.get(name, name.removesuffix("s").replace("-", " ")) for name in COMMANDS if name[-1] == "s"}
    assert {"source", "event", "watch", "dead letter", "delivery"} <= nouns
    assert [noun for noun in nouns if f"\n| {noun} | " not in GLOSSARY] == []
