"""Walks through the dashboard: addresses of every page, found by its links as a reader finds them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from html import unescape
from typing import NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, RequestRedirect

from bridge.web.ui import register_ui

__all__ = ["Found", "page_endpoints", "walk"]

#: Endpoints below `/ui/` that answer GET and are no page of who has signed in.
_NOT_PAGES = ("ui_static.", "ui_unknown.", "ui_sign_in.", "ui_start", "ui_slash")
_LINK = re.compile(r'<a [^>]*?href="([^"]*)"')
_DOWNLOAD = re.compile(r"<a [^>]*?\bdownload\b[^>]*>")


class Answer(Protocol):
    """Of Flask's client for tests and of requests."""

    @property
    def status_code(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Found(NamedTuple):
    """One page. `endpoint`: of the view that made it, such as `ui_events.show_one`."""

    endpoint: str
    address: str
    text: str


def page_endpoints() -> set[str]:
    """The endpoints of all pages that the dashboard has."""
    return {
        rule.endpoint
        for rule in _addresses().iter_rules()
        if rule.rule.startswith("/ui/") and "GET" in (rule.methods or ()) and not rule.endpoint.startswith(_NOT_PAGES)
    }


def walk(get: Callable[[str], Answer], *, each: int = 1, is_live: bool = False) -> Iterator[Found]:
    """Up to `each` pages of every endpoint, following the links from the overview. `get`: follows redirects.

    `is_live`: what a link leads to may have ended meanwhile. Raises `AssertionError` for a link that leads nowhere.
    """
    visits: dict[str, int] = defaultdict(int)
    waiting, seen = ["/ui/"], {"/ui/"}
    while waiting:
        address = waiting.pop(0)
        endpoint = _endpoint(address)
        if endpoint is None or visits[endpoint] >= each:
            continue
        answer = get(address)
        if is_live and answer.status_code == 404:
            continue
        assert answer.status_code == 200, f"{address}: {answer.status_code}"
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        visits[endpoint] += 1
        yield Found(endpoint, address, answer.text)
        for link in _LINK.findall(_DOWNLOAD.sub("", answer.text)):
            target = urljoin(address, unescape(link)).partition("#")[0]
            if target not in seen:
                seen.add(target)
                waiting.append(target)


def _endpoint(address: str) -> str | None:
    parts = urlsplit(address)
    if parts.netloc or not parts.path.startswith("/ui/"):
        return None
    try:
        endpoint, _ = _addresses().bind("localhost").match(parts.path)
    except RequestRedirect:
        return None
    except HTTPException:
        raise AssertionError(f"a link leads nowhere: {address}") from None
    assert not endpoint.startswith("ui_unknown."), f"a link leads nowhere: {address}"
    return None if endpoint.startswith(_NOT_PAGES) else str(endpoint)


@cache
def _addresses() -> Map:
    app = Flask("pages")
    register_ui(app)
    return app.url_map
