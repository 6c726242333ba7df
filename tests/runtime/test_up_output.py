"""Lines of `up`: JSON for programs, names and colours for people."""

from __future__ import annotations

import io
import json
import sys

import pytest

from bridge.runtime import up
from bridge.settings import wants_no_colours


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ATTEMPT_BRIDGE_LOG_FORMAT", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *lines: str) -> str:
    class Direct:
        """In place of the writer with a thread of its own."""

        isatty = stream.isatty
        write = stream.write

    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(up, "line_writer", lambda stream: Direct())
    show = up.printer(("web", "worker", "up"))
    for line in lines:
        show("worker", line)
    return stream.getvalue()


LOGGED = json.dumps({"event": "poll_round", "level": "info", "pages": 2, "name": "Zoë"}, ensure_ascii=False)


@pytest.mark.parametrize(("wanted", "stream"), [("auto", io.StringIO), ("json", io.StringIO), ("json", Terminal)])
def test_off_a_terminal_every_line_is_one_json_object_with_its_part(
    monkeypatch: pytest.MonkeyPatch, wanted: str, stream: type[io.StringIO]
) -> None:
    monkeypatch.setenv("ATTEMPT_BRIDGE_LOG_FORMAT", wanted)
    out = shown(monkeypatch, stream(), LOGGED, "Traceback:", "{not json", "[1]", "  ")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"event": "poll_round", "level": "info", "pages": 2, "name": "Zoë", "part": "worker"},
        *({"event": text, "level": "info", "part": "worker"} for text in ("Traceback:", "{not json", "[1]")),
    ]
    assert up.child_environment()["ATTEMPT_BRIDGE_LOG_FORMAT"] == "json"


def test_on_a_terminal_names_are_in_front_and_colours_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, Terminal(), "started").startswith("\x1b[")
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(monkeypatch, Terminal(), "started") == "worker | started\n"


def test_a_console_format_is_kept_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTEMPT_BRIDGE_LOG_FORMAT", "console")
    assert shown(monkeypatch, io.StringIO(), "started") == "worker | started\n"


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("NO_COLOR", "1", True),
        ("NO_COLOR", "false", True),
        ("NO_COLOR", "", False),
        ("TERM", "dumb", True),
        ("TERM", "xterm-256color", False),
    ],
)
def test_colours_are_refused_by_no_color_and_dumb_terminals(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, plain: bool
) -> None:
    monkeypatch.setenv(name, value)
    assert wants_no_colours() == plain
