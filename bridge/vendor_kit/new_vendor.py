"""The files of a new vendor: the smallest one, with its names filled in.

The files in `files/` end in `.template`, so that no tool takes them for code of the bridge. `$name`, `$title`,
`$package` and `$folder` in them are filled in.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

__all__ = ["NewVendor", "name_problem"]

_FILES = Path(__file__).parent / "files"
_ENDING = ".template"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MOST_LETTERS = 40


def name_problem(name: str) -> str | None:
    """Why this cannot be a vendor's name; None if it can."""
    if not _NAME.fullmatch(name) or len(name) > _MOST_LETTERS:
        wanted = (
            f"Remedy: at most {_MOST_LETTERS} lower-case letters and digits, with single hyphens, such as north-bay"
        )
        return f'"{name}" is not a valid name for a vendor. {wanted}'
    if keyword.iskeyword(name):
        return f'"{name}" is a Python keyword, which cannot name a folder. Remedy: choose another name'
    return None


@dataclass(frozen=True, slots=True)
class NewVendor:
    """A vendor to be written. `own_package`: as a separate package, not as a folder in bridge/vendors."""

    name: str
    own_package: bool = False

    @property
    def folder(self) -> str:
        """The name of the folder with the vendor's files."""
        plain = self.name.replace("-", "_")
        return f"attempt_bridge_{plain}" if self.own_package else plain

    @property
    def package(self) -> str:
        """Where the vendor's modules are imported from."""
        return self.folder if self.own_package else f"bridge.vendors.{self.folder}"

    def files(self) -> dict[str, str]:
        """Path in the vendor's folder -> text."""
        return self._filled("vendor")

    def write(self, into: Path) -> Path:
        """Write all files into a new directory in `into` and return that directory.

        Raises `FileExistsError` if there is one of that name, and `OSError`.
        """
        place = into / (f"attempt-bridge-{self.name}" if self.own_package else self.folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir()
        folder = place / self.folder if self.own_package else place
        texts = {folder / path: text for path, text in self.files().items()}
        if self.own_package:
            texts |= {place / path: text for path, text in self._filled("package").items()}
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return place

    def _filled(self, part: str) -> dict[str, str]:
        names = {
            "name": self.name,
            "title": self.name.replace("-", " ").title(),
            "package": self.package,
            "folder": self.folder,
        }
        root = _FILES / part
        return {
            path.relative_to(root).as_posix().removesuffix(_ENDING): Template(path.read_text("utf-8")).substitute(names)
            # In reading order: code first, what is said about it last.
            for path in sorted(root.rglob(f"*{_ENDING}"), key=lambda path: (".md" in path.suffixes, path))
        }
