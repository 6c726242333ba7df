from __future__ import annotations

from pathlib import Path

import fakeredis
import pytest

from bridge.state import scripts


@pytest.fixture
def module(tmp_path: Path) -> str:
    (tmp_path / "double.lua").write_text("local function double(n) return n * 2 end")
    (tmp_path / "answer.lua").write_text("return double(tonumber(ARGV[1]))")
    return str(tmp_path / "module.py")


def test_earlier_files_define_what_the_last_one_uses(module: str) -> None:
    script = scripts.register(fakeredis.FakeRedis(), module, "double", "answer")
    assert script(args=[21]) == 42


def test_a_file_is_read_once(module: str) -> None:
    first = scripts.register(fakeredis.FakeRedis(), module, "double")
    Path(module).with_name("double.lua").write_text("return 0")
    assert scripts.register(fakeredis.FakeRedis(), module, "double").script == first.script


def test_a_missing_file_is_noticed_when_it_is_registered(module: str) -> None:
    with pytest.raises(FileNotFoundError):
        scripts.register(fakeredis.FakeRedis(), module, "missing")
