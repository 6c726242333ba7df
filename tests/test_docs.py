"""The documents name files, commands and keys that exist, and the keys are all there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from bridge import keys
from bridge.cli import COMMANDS, cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_are_there(document: Path) -> None:
    named = re.findall(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|lua|md|yaml|yml|toml|json))`", document.read_text())
    assert [name for name in named if not (ROOT / name).exists() and "<" not in name] == []


def test_commands_that_are_named_are_there() -> None:
    """Also in remedies: those of the code and of the alerts."""
    files = [*DOCUMENTS, *ROOT.glob("deploy/*"), *ROOT.glob("bridge/**/*.py"), *ROOT.glob("workers/**/*.py")]
    for file in files:
        for first, second in re.findall(r"[`/:] ?attempt-bridge ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", file.read_text()):
            command = cli.get_command(click.Context(cli), first)
            assert command is not None, f"{file}: {first}"
            if isinstance(command, click.Group) and second:
                assert second in command.commands, f"{file}: {first} {second}"


def test_every_command_below_a_noun_is_in_the_operations_guide() -> None:
    lines = (ROOT / "docs/operations.md").read_text().splitlines()
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        rows = "\n".join(line for line in lines if line.startswith(f"| `{name} "))
        for below in command.commands if isinstance(command, click.Group) else ():
            assert re.search(rf"`(?:{name} )?{below}\b", rows), f"{name} {below}"


def test_every_key_is_in_the_architecture() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    for name in keys.__all__:
        if name.islower() and name != "partition_of":
            assert _pattern(getattr(keys, name)) in text, name


def _pattern(key: Callable[..., str]) -> str:
    """The key as the document writes it; those that stand beside another one are named by their ends."""
    needed = [one.name for one in inspect.signature(key).parameters.values() if one.default is one.empty]
    pattern = key(*(0 if name == "partition" else f"<{name}>" for name in needed)).replace("{0}", "{p}")
    end = pattern.rpartition(":")[2]
    return f"`:{end}`" if end in ("claims", "state") else f"`{pattern}`"
