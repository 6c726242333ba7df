"""Help texts in plain English, and what people type from habit."""

from __future__ import annotations

import json
import os
import pty
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from bridge import __version__, cli, registry
from bridge.cli import spelling
from bridge.cli.options import unique_match
from bridge.cli.spelling import moved_to_front
from bridge.config.example import needed_names
from tests.support.forked import Forked

ROOT = Path(__file__).parents[2]
CONFIG = """demo: true
bridge: {name: acme}
sources: {eu: {vendor: classmarker, credentials: {api_key: k, api_secret: s, webhook_secret: w}}}
"""
#: Words of our own language, and turns that no native speaker writes.
FORBIDDEN = re.compile(
    r"\b(look|looks|tell|tells|stand|stands|hint|hints|kin|news|so many|names it|how often|whereof|thereof)\b"
)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its path."""

    def walk(path: str, command: click.Command, ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            for name in command.list_commands(ctx):
                inner = command.get_command(ctx, name)
                assert inner is not None
                yield from walk(f"{path} {name}", inner, click.Context(inner, info_name=name, parent=ctx))

    yield from walk("attempt-bridge", cli.cli, click.Context(cli.cli, info_name="attempt-bridge"))


COMMANDS = dict(commands())
OPTIONS = {
    f"{path} {option.opts[-1]}": option
    for path, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option)
}


def check(text: str | None) -> None:
    assert text, "has no help"
    first = text.split("\n\n")[0].strip()
    assert first[0].isupper(), first
    assert first.endswith((".", ":", "...")), first
    assert not FORBIDDEN.search(text.lower()), text


def test_every_command_is_explained_in_plain_english() -> None:
    assert len(COMMANDS) > 50
    for path, command in COMMANDS.items():
        try:
            check(command.help)
        except AssertionError as error:
            raise AssertionError(f"{path}: {error}") from error


def test_every_option_is_explained_in_plain_english() -> None:
    assert len(OPTIONS) > 100
    for path, option in OPTIONS.items():
        try:
            check(option.help)
            shown = option.make_metavar(click.Context(click.Command("x")))
            assert not re.search(r"\d[A-Z]", shown), shown
        except AssertionError as error:
            raise AssertionError(f"{path}: {error}") from error


def test_all_options_with_one_name_that_mean_the_same_have_the_same_words() -> None:
    for name in ("--since", "--until", "--limit", "--output", "--json", "--yes"):
        assert len({option.help for path, option in OPTIONS.items() if path.endswith(f" {name}")}) == 1, name


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    (tmp_path / "bridge.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.run(arguments)
        out, err = capfd.readouterr()
        return code, out, err

    return command


def test_the_version_is_printed_whatever_it_is_called(run: Any) -> None:
    answers = {run(*words) for words in (["version"], ["--version"], ["-V"], ["events", "list", "-V"])}
    assert answers == {(0, f"attempt-bridge, version {__version__}\n", "")}


@pytest.mark.parametrize(
    "arguments",
    [
        ("config", "check", "--config", "other.yaml"),
        ("config", "check", "--config=other.yaml"),
        ("config", "--config", "other.yaml", "check"),
        ("config", "show", "-o", "json", "--config", "other.yaml", "--no-color", "-v"),
    ],
)
def test_global_options_may_be_behind_the_command(run: Any, arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").rename(tmp_path / "other.yaml")
    code, _, err = run(*arguments)
    assert code == 0, err
    assert ("configuration " in err) == ("-v" in arguments)


@pytest.mark.parametrize(
    ("arguments", "option", "moved"),
    [
        (["a", "--config", "x", "b"], "--config", ["--config", "x", "a", "b"]),
        (["a", "--config=x"], "--config", ["--config=x", "a"]),
        (["--config", "x", "a", "--config", "y"], "--config", ["--config", "y", "--config", "x", "a"]),
        (["a", "-v", "--debug"], "--debug", ["--debug", "a", "-v"]),
        (["--debug"], "--debug", None),
        (["a", "--source", "x"], "--source", None),
        (["a", "--config"], "--config", ["--config", "a"]),
    ],
)
def test_only_global_options_behind_the_command_are_moved(
    arguments: list[str], option: str, moved: list[str] | None
) -> None:
    assert moved_to_front(arguments, option) == moved


def test_an_unknown_option_is_refused_once_and_an_option_as_a_value_is_kept(run: Any) -> None:
    code, _, err = run("config", "check", "--nope")
    assert (code, err.count("\n")) == (2, 1)
    assert run("tokens", "new", "--role", "viewer", "--name", "--debug")[0] == 2


@pytest.mark.parametrize(
    "arguments", [("-o", "json"), ("--json",), ("-o", "yaml"), ("-o", "jsonl"), ("--output=yaml",)]
)
def test_every_format_holds_the_same(run: Any, arguments: tuple[str, ...]) -> None:
    code, out, _ = run("config", "show", *arguments)
    assert code == 0
    document = yaml.safe_load(out) if "yaml" in arguments[-1] else json.loads(out)
    assert document["bridge"]["name"] == "acme"
    assert yaml.safe_load(out)["sources"]["eu"]["vendor"] == "classmarker"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("status",), "Use attempt-bridge doctor."),
        (("logs",), "Use attempt-bridge events tail."),
        (("sources", "ls"), "Use attempt-bridge sources list."),
        (("tokens", "create"), "Use attempt-bridge tokens new."),
        (("events", "show", "--watch"), "All lists have it. Here, run watch attempt-bridge ..."),
        (("events", "list", "--format", "json"), "Use -o table, json, jsonl or yaml."),
        (("events", "list", "--sinc", "2h"), "Did you mean '--since'"),
        (("trigger", "classmarker", "--force"), "Use --yes."),
    ],
)
def test_a_word_from_another_program_is_answered_with_the_right_one(
    run: Any, arguments: tuple[str, ...], advice: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert advice in err


def test_every_suggested_command_exists() -> None:
    for command in spelling.COMMANDS.values():
        assert f"attempt-bridge {command}" in COMMANDS, command
    subcommands = {path.split()[-1] for path in COMMANDS if path.count(" ") > 1}
    assert {name for names in spelling.SUBCOMMANDS.values() for name in names} <= subcommands
    assert not set(spelling.COMMANDS) & set(cli.COMMANDS)


def test_init_writes_an_example_that_check_accepts_once_its_variables_are_set_and_never_overwrites(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run("config", "init", "--config", "new.yaml")
    assert (code, out) == (0, "new.yaml\n")
    written = (tmp_path / "new.yaml").read_text()
    names = err.partition("set ")[2].partition(" in the environment")[0].split(", ")
    assert "CM_API_KEY" in names
    assert "CIRRUS_TOKEN" not in names
    for name in names:
        monkeypatch.setenv(name, "amqp://broker.internal" if "BROKER" in name else "whsec_" + "QUJD" * 8)
    code, _, err = run("config", "check", "--config", "new.yaml")
    assert code == 0, err
    warning = "is an address of the example. Remedy: write your own"
    persons = (
        "names and e-mail addresses of every candidate are sent: its only filter is types. "
        "Remedy: data: minimal, or a filter such as {sources: [...]}"
    )
    assert err.splitlines()[:-1] == [
        f"new.yaml: bridge.public_url: warning: bridge.example.org {warning}",
        f"new.yaml: subscriptions.crm.url: warning: crm.example.org {warning}",
        f"new.yaml: subscriptions.results.url: warning: db.example.org {warning}",
        *(
            f"new.yaml: subscriptions.{name}: warning: {persons}"
            for name in ("gradebook", "warehouse", "results", "analytics")
        ),
    ]
    for place in ("new.yaml", "none/new.yaml"):
        code, out, err = run("config", "init", "--config", place)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert err.startswith("Error: ")
    assert (tmp_path / "new.yaml").read_text() == written


def test_init_for_vendors_writes_sources_that_check_accepts_and_the_variables_that_they_need(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, vendors = tmp_path / "new", sorted(registry.vendors())
    folder.mkdir()
    config = ("--config", "new/bridge.yaml")
    code, out, _ = run("config", "init", "--vendors", ",".join(vendors), *config)
    assert (code, out) == (0, "new/bridge.yaml\nnew/.env\n")
    names = re.findall(r"^(\w+)=$", (folder / ".env").read_text(), re.M)
    assert len(names) >= len(vendors)
    assert set(names) == set(needed_names((folder / "bridge.yaml").read_text()))
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    code, _, err = run("config", "check", *config)
    assert (code, [name for name in names if name not in err]) == (78, [])
    for name in names:
        monkeypatch.setenv(name, "an-invented-value-of-thirty-letters")
    code, _, err = run("config", "check", *config)
    assert code == 0, err
    assert err.splitlines()[-1] == f"new/bridge.yaml: no problems; sources: {len(vendors)}, subscriptions: 0"


def test_init_for_vendors_overwrites_nothing_and_then_writes_nothing(run: Any, tmp_path: Path) -> None:
    for there in ("bridge.yaml", ".env"):
        folder = tmp_path / f"with{there}"
        folder.mkdir()
        (folder / there).write_text("mine\n")
        place = f"{folder.name}/bridge.yaml"
        code, out, err = run("config", "init", "--vendors", "classmarker", "--config", place)
        assert (code, out) == (1, "")
        assert err.startswith(f"Error: {folder.name}/{there} exists. Remedy: ")
        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(there, "mine\n")]


class Item:
    def __init__(self, ident: str) -> None:
        self.id = ident


def test_the_beginning_of_an_id_is_enough_where_it_is_unique() -> None:
    items = [Item("7c19d583"), Item("7c19ffff"), Item("7c19"), Item("abcd1"), Item("abcd1")]
    assert unique_match("7c19d", items, "event") is items[0]
    assert unique_match("7c19", items, "event") is items[2]
    assert unique_match("abcd", items, "event") is items[3]
    assert unique_match("7c1", items, "event") is None
    assert unique_match("zzzz", items, "event") is None
    with pytest.raises(click.UsageError, match='2 events have an id that begins with "7c19"'):
        unique_match("7c19", items[:2], "event")


@pytest.mark.parametrize("given", ["2h", "2H", "1.5d", "2026-11-01", "2026-11-01T08:30:00Z"])
def test_times_are_taken_in_capitals_too(given: str) -> None:
    parsed = CliRunner().invoke(COMMANDS["attempt-bridge events list"], ["--since", given, "--help"])
    assert parsed.exit_code == 0
    option = OPTIONS["attempt-bridge events list --since"]
    assert option.type.convert(given, None, None) > 0


@pytest.mark.usefixtures("starts_processes")
@pytest.mark.parametrize(
    ("environment", "options", "coloured"),
    [({}, (), True), ({"NO_COLOR": "1"}, (), False), ({"TERM": "dumb"}, (), False), ({}, ("--no-color",), False)],
    ids=["terminal", "NO_COLOR", "dumb", "--no-color"],
)
def test_the_doctor_on_a_terminal_has_colours_unless_they_are_refused(
    environment: dict[str, str], options: tuple[str, ...], coloured: bool, tmp_path: Path
) -> None:
    (tmp_path / "bridge.yaml").write_text(CONFIG)
    ours, theirs = pty.openpty()
    base = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    with os.fdopen(theirs, "wb") as terminal, Path(os.devnull).open("wb") as nowhere:
        doctor = Forked(
            ["-m", "bridge", *options, "doctor"],
            stdout=terminal,
            stderr=nowhere,
            cwd=tmp_path,
            env={**base, "TERM": "xterm", **environment},
        )
        code = doctor.wait()
        out = os.read(ours, 100_000)
    os.close(ours)
    assert code == 69
    assert b"[-]" in out
    assert (b"\x1b[" in out) == coloured
