"""`--watch` of the lists: repeated until Ctrl-C, whatever the state server does meanwhile."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import click
import pytest

from bridge import cli
from bridge.cli import COMMANDS, watching
from bridge.cli.watching import watch_option
from bridge.errors import StateUnavailable


def lists() -> Iterator[tuple[str, click.Command]]:
    for name in COMMANDS:
        group = cli.cli.get_command(click.Context(cli.cli), name)
        if isinstance(group, click.Group) and "list" in group.commands:
            yield name, group.commands["list"]


def test_every_list_can_be_repeated_except_those_that_never_change() -> None:
    with_it = {name for name, command in lists() if any("--watch" in each.opts for each in command.params)}
    assert with_it == {name for name, _ in lists()} - {"schema", "vendors"}
    assert len(with_it) >= 7


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses; the third is interrupted, as by Ctrl-C."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    # Only there: other threads of this process sleep too.
    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=sleep))
    return pauses


def run(monkeypatch: pytest.MonkeyPatch, body: Callable[[], None], *arguments: str) -> int:
    """The exit code of a command that does `body`, in the place of `events list`."""
    command = click.command()(click.option("-o", "output", default="table")(watch_option(lambda output: body())))
    group = click.Group("events", commands={"list": command})
    monkeypatch.setattr(importlib.import_module("bridge.cli.events"), "events", group)
    return cli.run(["events", "list", *arguments])


@pytest.mark.parametrize(
    ("arguments", "pause"), [(("--watch",), 2.0), (("--watch", "5"), 5.0), (("--watch=0.5",), 0.5)]
)
def test_it_is_printed_again_after_each_pause(
    monkeypatch: pytest.MonkeyPatch, slept: list[float], arguments: tuple[str, ...], pause: float
) -> None:
    printed: list[int] = []
    assert run(monkeypatch, lambda: printed.append(1), *arguments) == 130
    assert (len(printed), slept) == (3, [pause] * 3)
    assert run(monkeypatch, lambda: printed.append(1)) == 0
    assert len(printed) == 4


def test_nothing_found_and_a_server_that_is_away_do_not_end_it_and_a_wrong_option_does(
    monkeypatch: pytest.MonkeyPatch, slept: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    ends = iter([StateUnavailable("state server: Timeout"), click.exceptions.Exit(3), None])

    def body() -> None:
        end = next(ends)
        if end is not None:
            raise end

    assert run(monkeypatch, body, "--watch") == 130
    assert capfd.readouterr().err.strip() == "Error: state server: Timeout"
    slept.clear()

    def wrong() -> None:
        raise click.UsageError("unknown source")

    assert run(monkeypatch, wrong, "--watch") == 2
    assert run(monkeypatch, lambda: None, "--watch", "0.1") == 2
    assert slept == []
