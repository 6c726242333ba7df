"""On demand, the client on other Pythons: OTHER_PYTHONS=1 scripts/test tests/client/test_other_pythons.py"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: They import nothing of the bridge, nor of its tests.
FILES = [str(Path(__file__).with_name(name)) for name in ("test_core.py", "test_frameworks.py")]
EXTRAS = "celery,django,ed25519,fastapi,flask,psycopg,redis,sqlalchemy"


def interpreter(version: str) -> str | None:
    """A Python on the PATH, or one of pyenv."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    pyenv = sorted((root / "versions").glob(f"{version}.*/bin/python"))
    return str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
@pytest.mark.usefixtures("starts_processes")
def test_the_client_works_on_another_python(version: str, tmp_path: Path) -> None:
    if "OTHER_PYTHONS" not in os.environ:
        pytest.skip("takes minutes; set OTHER_PYTHONS=1")
    if (python := interpreter(version)) is None:
        pytest.skip(f"Python {version} is not installed")
    copy = shutil.copytree(ROOT / "client", tmp_path / "client")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    inside = str(tmp_path / "venv/bin/python")
    packages = [f"{copy}[{EXTRAS}]", "pytest"]
    subprocess.run([inside, "-m", "pip", "-qq", "--disable-pip-version-check", "install", *packages], check=True)
    # Its plugin comes by its entry point; nothing of this repository is on the path.
    run = [inside, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "--import-mode=importlib"]
    options = ["-c", os.devnull, "--rootdir", str(tmp_path)]
    done = subprocess.run([*run, *options, *FILES], capture_output=True, text=True, check=False, cwd=tmp_path)
    print(done.stdout[-3000:])
    assert re.search(r"\d+ passed", done.stdout)
    assert not re.search(r"failed|error|skipped", done.stdout.splitlines()[-1])
