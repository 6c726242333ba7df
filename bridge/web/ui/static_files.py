"""Scripts, style sheets and pictures of the dashboard, all from this package; compressed once, cached for long."""

from __future__ import annotations

import gzip
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from flask import Blueprint, Response, abort, request

__all__ = ["blueprint", "static_url"]

blueprint = Blueprint("ui_static", __name__, url_prefix="/ui/static")

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "LICENSE": "text/plain; charset=utf-8",
}
_YEAR = 365 * 86_400


class _File(NamedTuple):
    content: bytes
    compressed: bytes
    media_type: str
    digest: str


@blueprint.get("/<path:name>")
def show(name: str) -> Response:
    """A file. Its address has a digest of it, so that browsers keep it until it changes."""
    file = _files().get(name)
    if file is None:
        abort(404)
    compress = "gzip" in request.headers.get("Accept-Encoding", "")
    answer = Response(file.compressed if compress else file.content, content_type=file.media_type)
    if compress:
        answer.headers["Content-Encoding"] = "gzip"
    answer.vary.add("Accept-Encoding")
    is_current = request.args.get("v") == file.digest
    answer.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable" if is_current else "no-cache"
    return answer


def static_url(name: str) -> str:
    """The address of a file. Raises `KeyError` if there is none."""
    return f"/ui/static/{name}?v={_files()[name].digest}"


@cache
def _files() -> dict[str, _File]:
    return dict(_walk(files("bridge.web.ui").joinpath("static"), ""))


def _walk(directory: Traversable, path: str) -> list[tuple[str, _File]]:
    files: list[tuple[str, _File]] = []
    for entry in directory.iterdir():
        if entry.is_dir():
            files += _walk(entry, f"{path}{entry.name}/")
        elif (media_type := _TYPES.get(entry.name.rpartition(".")[2])) is not None:
            content = entry.read_bytes()
            digest = sha256(content).hexdigest()[:12]
            files.append(
                (f"{path}{entry.name}", _File(content, gzip.compress(content, 9, mtime=0), media_type, digest))
            )
    return files
