"""The files of others in the dashboard are those of the npm packages that `checksums.txt` names, byte by byte."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest

VENDOR = Path(__file__).parents[3] / "bridge/web/ui/static/vendor"
LIST = VENDOR / "checksums.txt"


class Vendored(NamedTuple):
    file: str
    digest: str
    package: str
    path: str
    licence: str


LISTED = [Vendored(*line.split()) for line in LIST.read_text().splitlines() if not line.startswith("#")]


def test_every_vendored_file_has_the_checksum_that_is_listed_and_no_other_file_is_there() -> None:
    vendored = {str(path.relative_to(VENDOR)): path for path in VENDOR.rglob("*") if path.is_file() and path != LIST}
    assert {name: sha256(path.read_bytes()).hexdigest() for name, path in vendored.items()} == {
        each.file: each.digest for each in LISTED
    }


def test_every_package_has_its_licence_beside_it_and_its_version_in_its_folder() -> None:
    for each in LISTED:
        folder = each.file.partition("/")[0]
        assert (VENDOR / folder / "LICENSE").is_file()
        assert each.package.rpartition("@")[2] == folder.rpartition("-")[2]
        assert each.licence in ("MIT", "0BSD")


@pytest.mark.long
def test_the_listed_checksums_are_those_of_the_packages(starts_processes: None, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm: the packages cannot be fetched")
    packages = sorted({each.package for each in LISTED})
    command = [npm, "pack", "--json", "--ignore-scripts", "--fetch-retries=0", "--pack-destination", str(tmp_path)]
    done = subprocess.run([*command, *packages], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        pytest.skip("the npm registry cannot be reached")
    archives = {f"{row['name']}@{row['version']}": tmp_path / row["filename"] for row in json.loads(done.stdout)}
    assert sorted(archives) == packages
    for each in LISTED:
        with tarfile.open(archives[each.package]) as archive:
            file = archive.extractfile(f"package/{each.path}")
            manifest = archive.extractfile("package/package.json")
            assert file is not None
            assert manifest is not None
            assert sha256(file.read()).hexdigest() == each.digest, each
            assert json.load(manifest)["license"] == each.licence, each
