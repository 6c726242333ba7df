"""Who may write to the data directory, or to anything above it, is checked before anything is stored there."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

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


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_directory.os, "geteuid", lambda: STRANGER)
    with pytest.raises(ConfigError, match=rf"belongs to user {os.getuid()}, not to {STRANGER}\. Remedy: "):
        make_private(tmp_path)


def test_what_an_earlier_version_left_readable_is_tightened_when_the_directory_is_held(tmp_path: Path) -> None:
    (tmp_path / "api-token.sha256").write_text("0" * 64)
    (tmp_path / "notes-of-the-operator").write_text("")
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    with hold_directory(tmp_path):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"api-token.sha256": 0o600, "notes-of-the-operator": 0o644, "lock": 0o600}


# Volumes ------------------------------------------------------------------------------------------------------------

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
FS_GROUP = 23456


@contextmanager
def as_user(number: int) -> Iterator[None]:
    groups = os.getgroups()
    os.setgroups([FS_GROUP])
    os.setegid(number)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def below_tmp(starts_processes: None) -> Iterator[Path]:
    """A directory of root that other users may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)
        subprocess.run(["umount", "--lazy", f"{made}/data"], capture_output=True, check=False)


@needs_root
@pytest.mark.parametrize("mode", [0o777, 0o2777, 0o2775], ids=["emptyDir", "emptyDir, fsGroup", "disk, fsGroup"])
def test_a_volume_is_refused_as_it_comes_and_used_as_the_documents_say(mode: int, below_tmp: Path) -> None:
    volume, data = below_tmp / "volume", below_tmp / "data"
    volume.mkdir()
    os.chown(volume, 0, FS_GROUP)
    volume.chmod(mode)
    data.mkdir()
    (text,) = re.findall(r"```yaml\n(spec:\n.*?)```", OPERATIONS, re.S)
    pod = yaml.safe_load(text)["spec"]
    (init,), (bridge,) = pod["initContainers"], pod["containers"]
    with as_user(STRANGER):
        with pytest.raises(ConfigError, match=rf"^{volume}: belongs to user 0, .*volumes: docs/operations.md"):
            make_private(volume)
        with pytest.raises(ConfigError, match=rf"^{volume}: other users may write to it \(mode {mode:04o}\)"):
            make_private(volume / "bridge")
        command = [part.replace("/volume", str(volume)) for part in init["command"]]
        for _ in range(2):
            subprocess.run(command, check=True)
            # What kubelet does with an existing volume and fsGroup when the pod starts again.
            (volume / "bridge").chmod(0o2770)
        subprocess.run(command, check=True)
    (mount,) = bridge["volumeMounts"]
    done = subprocess.run(["mount", "--bind", volume / mount["subPath"], data], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    with as_user(STRANGER), hold_directory(data):
        write_private(data / "server.used", "used")
    assert stat.S_IMODE((data / "server.used").stat().st_mode) == 0o600
