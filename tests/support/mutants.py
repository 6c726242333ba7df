"""Scripts with one line changed, for tests that must notice it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.state import scripts

__all__ = ["change_script"]


def change_script(monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    """Replace text in the script `<name>.lua` for every client that is made from now on."""
    plain = scripts.read

    def read(path: Path) -> str:
        text = plain(path)
        if path.stem != name:
            return text
        assert old in text
        return text.replace(old, new)

    monkeypatch.setattr(scripts, "read", read)
