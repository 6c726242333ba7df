"""Tokens of the API: of the first start, of `tokens new`, and how they are compared."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.cli.tokens import new
from bridge.config import access, loader
from bridge.config.access import FILE, first_token, includes, token_of, tokens
from bridge.config.model import Config, Token
from bridge.errors import BridgeError


def role_of(given: str, accepted: tuple[Token, ...]) -> str | None:
    token = token_of(given, accepted)
    return None if token is None else token.role


def config(folder: Path, more: str = "") -> Config:
    (folder / "bridge.yaml").write_text(f"demo: true\nbridge: {{name: acme}}\n{more}")
    return loader.read(folder / "bridge.yaml", vendors={}, environment={})


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_first_start_makes_a_token_says_it_once_and_keeps_its_hash_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        said = first_token(config(tmp_path))
    finally:
        os.umask(before)
    assert said is not None
    token = said.split(": ")[1].split()[0]
    path = tmp_path / "data" / FILE
    assert path.read_text() == sha256(token) + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert role_of(f"Bearer {token}", tokens(config(tmp_path))) == "operator"
    again = first_token(config(tmp_path))
    assert again == f"the hash of the API token is in {path}; to get a new token delete that file and start again"
    path.unlink()
    third = first_token(config(tmp_path))
    assert third is not None
    assert token not in third
    assert role_of(f"Bearer {token}", tokens(config(tmp_path))) is None


def test_where_the_file_names_tokens_none_is_made_and_that_of_an_earlier_start_is_not_accepted(tmp_path: Path) -> None:
    first_token(config(tmp_path))
    named = config(tmp_path, f'access: {{tokens: [{{name: ops, role: viewer, sha256: "{sha256("t")}"}}]}}\n')
    assert first_token(named) is None
    assert [token.name for token in tokens(named)] == ["ops"]


@pytest.mark.parametrize("text", ["", "no hash", "A" * 64, "é" * 64])
def test_a_file_that_holds_no_hash_is_named_and_opens_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE).write_text(text)
    for ask in (tokens, first_token):
        with pytest.raises(BridgeError, match=rf"{FILE}: holds no SHA-256 in 64 hex digits\. Remedy: delete it"):
            ask(config(tmp_path))


@pytest.mark.parametrize(
    ("given", "role"),
    [
        ("Bearer v", "viewer"),
        ("bearer  o ", "operator"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic o", None),
        ("o", None),
        ("", None),
        ("Bearer ö\xff", None),
        (f"Bearer {sha256('o')}", None),
    ],
)
def test_only_a_bearer_of_a_token_has_a_role(given: str, role: str | None) -> None:
    accepted = (
        Token(name="a", role="viewer", sha256=sha256("v")),
        Token(name="b", role="operator", sha256=sha256("o")),
    )
    assert role_of(given, accepted) == role


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[Any, Any]] = []
    real = hmac.compare_digest

    def compare(first: Any, other: Any) -> bool:
        compared.append((first, other))
        return real(first, other)

    monkeypatch.setattr(access.hmac, "compare_digest", compare)
    accepted = tuple(Token(name=name, role="viewer", sha256=sha256(name)) for name in "abc")
    assert role_of("Bearer a", accepted) == "viewer"
    assert compared == [(sha256(name), sha256("a")) for name in "abc"]


def test_an_operator_may_what_a_viewer_may_and_not_the_other_way_round() -> None:
    assert includes("operator", "viewer")
    assert includes("viewer", "viewer")
    assert not includes("viewer", "operator")
    assert not includes(None, "viewer")


def test_the_command_prints_a_token_and_the_lines_that_bridge_yaml_takes(tmp_path: Path) -> None:
    done = CliRunner().invoke(new, ["--name", "ops", "--role", "viewer"])
    # By its own lines: any thread of this process, such as one that another test has left, writes there as well.
    (token,) = re.findall(r"^[\w-]{43,}$", done.stdout, re.M)
    assert token not in done.stderr
    lines = re.findall(r"^(?:access:| +tokens:| +- \{.*)$", done.stderr, re.M)
    assert len(lines) == 3
    result = config(tmp_path, "\n".join(lines))
    assert role_of(f"Bearer {token}", tokens(result)) == "viewer"
    again = json.loads(CliRunner().invoke(new, ["--name", "ops", "--role", "operator", "-o", "json"]).stdout)
    assert again["sha256"] == sha256(again["token"])
    assert again["token"] != token


def test_a_token_of_a_receiver_names_its_subscription_and_no_other_token_does(tmp_path: Path) -> None:
    shelf = ["--name", "shelf", "--role", "receiver"]
    done = CliRunner().invoke(new, [*shelf, "--subscription", "books"])
    lines = re.findall(r"^(?:access:| +tokens:| +- \{.*)$", done.stderr, re.M)
    books = "subscriptions: {books: {transport: celery, task: t, queue: q}}"
    (token,) = tokens(config(tmp_path, "\n".join([*lines, books])))
    assert (token.role, token.subscription) == ("receiver", "books")
    for wrong in (shelf, ["--name", "ops", "--role", "viewer", "--subscription", "books"]):
        assert CliRunner().invoke(new, wrong).exit_code == 2
    assert includes("operator", "receiver")
    assert not includes("receiver", "viewer")
    assert not includes("viewer", "receiver")


def test_a_name_that_bridge_yaml_would_not_take_is_refused() -> None:
    done = CliRunner().invoke(new, ["--name", "a}b", "--role", "viewer"])
    assert (done.exit_code, "is not a valid name" in done.output) == (2, True)
