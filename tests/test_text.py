"""Text that no event can hold is refused at every entry with one clear line: arguments, YAML, settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import cli, settings
from bridge.config.yaml_document import parse_yaml, resolve
from bridge.errors import ConfigError
from bridge.text import cleaned, text_problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", None),
        ("Zoë 🎉 \u00a0 \u202e", None),
        ("a\ud800", "holds a lone surrogate, which is not a character, at character 2"),
        ("\x00", "holds a NUL character, at character 1"),
        ("ab\x1b[2J", "holds a control character (U+001B), at character 3"),
        ("\x85", "holds a control character (U+0085), at character 1"),
        ("a\nb", "holds a control character (U+000A), at character 2"),
        ("abcd", "has 4 characters; at most 3 are allowed"),
    ],
)
def test_what_is_wrong_with_a_text(text: str, problem: str | None) -> None:
    assert text_problem(text, longest=3 if text == "abcd" else None) == problem


def test_tabs_and_line_breaks_are_allowed_where_lines_are() -> None:
    assert text_problem("a\tb\r\nc", lines=True) is None
    assert text_problem("a\x07\n", lines=True) == "holds a control character (U+0007), at character 2"


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_what_passes_can_be_sent_and_what_is_cleaned_too(text: str) -> None:
    cleaned(text).encode()
    if text_problem(text, lines=True) is None:
        assert cleaned(text) == text


def test_arguments_that_are_not_utf_8_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["watches", "add", "--source", "eu", "--ref", "result=7", "--label", os.fsdecode(b"caf\xe9")]
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "Error: argument 8 holds a lone surrogate, which is not a character, at character 4. Remedy: type it again in "
        "UTF-8\n"
    )


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('a: 1\nb: "\\ud800"\n', 2, "b: holds a lone surrogate"),
        ('a: 1\nb: ["x", "\\0"]\n', 2, "b[1]: holds a NUL character"),
        ('a: 1\n"\\ud800": 2\n', 2, "this name holds a lone surrogate"),
        ('a:\n  "b\\0": 2\n', 2, "this name holds a NUL character"),
        ("a: 1\nb: \x07\n", 2, "holds a control character (U+0007)"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "not YAML: "),
        ("a: " + "[" * 700, 1, "nested deeper than 20"),
    ],
)
def test_yaml_is_refused_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        raise parse_yaml(text, "bridge.yaml").error()
    (told,) = caught.value.problems
    assert told.startswith(f"bridge.yaml:{line}: ")
    assert problem in told
    told.encode()


def test_a_secret_that_no_text_can_hold_is_refused_without_quoting_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"hush\x00hush")
    document = parse_yaml('a: "${KEY}"\nb: {file: secret}\n', "bridge.yaml")
    resolve(document, {"KEY": os.fsdecode(b"hush\xe9")}, tmp_path, literals=False)
    first, second = document.error().problems
    assert first.startswith("bridge.yaml:1: a: environment variable KEY holds a lone surrogate")
    assert second.startswith("bridge.yaml:2: b: ")
    assert "secret holds a NUL character" in second
    assert "hush" not in first + second


def test_settings_from_the_environment_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTEMPT_BRIDGE_STATE", os.fsdecode(b"redis://caf\xe9"))
    with pytest.raises(ConfigError, match="ATTEMPT_BRIDGE_STATE holds a lone surrogate"):
        settings.read_settings()
