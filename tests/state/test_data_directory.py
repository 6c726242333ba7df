"""Who may write to the data directory, or to anything above it, is checked before anything is stored there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.state import data_directory
from bridge.state.data_directory import hold_directory, make_private, open_private, write_private

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
STRANGER = 12345


def test_new_directories_are_private_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
    finally:
        os.umask(umask)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700, 0o700]


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777])
def test_a_data_directory_that_others_may_write_to_is_refused_with_one_line(mode: int, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    with pytest.raises(ConfigError, match=rf"^{data}: other users may write to it \(mode {mode:04o}\)\. Remedy: .*$"):
        make_private(data)


@pytest.mark.parametrize("through_link", [False, True])
def test_so_is_one_below_a_directory_that_others_may_write_to(through_link: bool, tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "data").mkdir(parents=True, mode=0o700)
    (tmp_path / "link").symlink_to(above / "data")
    data = tmp_path / "link" if through_link else above / "data"
    make_private(data)
    above.chmod(0o777)
    with pytest.raises(ConfigError, match=rf"^{above}: other users may write to it"):
        make_private(data)
    above.chmod(0o1777)  # sticky, as /tmp: nobody can replace what belongs to somebody else
    make_private(data)


def test_a_group_may_write_only_if_nobody_else_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o775)
    monkeypatch.setattr(data_directory, "_is_own_group", lambda number: True)
    make_private(tmp_path)
    monkeypatch.setattr(data_directory, "_is_own_group", lambda number: False)
    with pytest.raises(ConfigError, match="other users may write to it"):
        make_private(tmp_path)


@needs_root
@pytest.mark.parametrize("whose", ["above", "above/data"])
def test_root_does_not_work_in_a_strangers_directory(whose: str, tmp_path: Path) -> None:
    (tmp_path / "above" / "data").mkdir(parents=True)
    os.chown(tmp_path / whose, STRANGER, -1)
    with pytest.raises(ConfigError, match=rf"{whose}: belongs to user {STRANGER}, not to 0\. Remedy: "):
        make_private(tmp_path / "above" / "data")


@needs_root
def test_a_file_of_a_stranger_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "api-token.sha256").write_text("0" * 64)
    os.chown(tmp_path / "api-token.sha256", STRANGER, -1)
    with pytest.raises(ConfigError, match=rf"belongs to user {STRANGER}"):
        open_private(tmp_path / "api-token.sha256", os.O_RDONLY)


def test_a_link_a_pipe_and_a_file_that_others_may_write_are_not_opened(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "open").write_text("")
    (tmp_path / "open").chmod(0o666)
    for name in ("link", "pipe", "open"):
        with pytest.raises(ConfigError, match=rf"{name}: .* Remedy: "):
            open_private(tmp_path / name, os.O_RDONLY)
    for name in ("link", "open"):
        with pytest.raises(ConfigError):
            write_private(tmp_path / name, "overwritten")
    assert victim.read_text() == "precious"


def test_while_the_directory_is_held_new_files_are_for_this_user_alone(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with hold_directory(tmp_path):
            (tmp_path / "run").write_text("1")
        (tmp_path / "later").write_text("1")
    finally:
        os.umask(umask)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("run", "later")] == [0o600, 0o666]
