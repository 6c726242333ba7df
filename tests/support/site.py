"""Walks through the dashboard: one address of every page, found by its links as a reader finds them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from html import unescape
from urllib.parse import urljoin, urlsplit

from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from tests.support.dashboard import Dashboard

__all__ = ["NOT_PAGES", "page_endpoints", "walk"]

#: Endpoints below `/ui/` that answer GET and are no page of who has signed in.
NOT_PAGES = ("ui_static.", "ui_unknown.", "ui_sign_in.", "ui_start", "ui_slash")
_LINK = re.compile(r'<a [^>]*?href="([^"]*)"')
_DOWNLOAD = re.compile(r"<a [^>]*?\bdownload\b[^>]*>")


def page_endpoints(dashboard: Dashboard) -> set[str]:
    """The endpoints of all pages that the application has."""
    rules = dashboard.client.application.url_map.iter_rules()
    return {
        rule.endpoint
        for rule in rules
        if rule.rule.startswith("/ui/") and "GET" in (rule.methods or ()) and not rule.endpoint.startswith(NOT_PAGES)
    }


def walk(dashboard: Dashboard, *, each: int = 1) -> Iterator[tuple[str, str, str]]:
    """Endpoint, address and text of up to `each` pages of every endpoint, following the links from the overview.

    Addresses that lead on are followed. Raises `AssertionError` for a link that leads nowhere.
    """
    found: dict[str, int] = defaultdict(int)
    waiting, seen = ["/ui/"], {"/ui/"}
    while waiting:
        address = waiting.pop(0)
        endpoint = _endpoint(dashboard, address)
        if endpoint is None or found[endpoint] >= each:
            continue
        answer = dashboard.client.get(address, follow_redirects=True)
        assert answer.status_code == 200, f"{address}: {answer.status_code}"
        if answer.mimetype != "text/html":
            continue
        found[endpoint] += 1
        yield endpoint, address, answer.text
        for link in _LINK.findall(_DOWNLOAD.sub("", answer.text)):
            target = urljoin(address, unescape(link)).partition("#")[0]
            if target not in seen:
                seen.add(target)
                waiting.append(target)


def _endpoint(dashboard: Dashboard, address: str) -> str | None:
    parts = urlsplit(address)
    if parts.netloc or not parts.path.startswith("/ui/"):
        return None
    try:
        endpoint, _ = dashboard.client.application.url_map.bind("localhost").match(parts.path)
    except RequestRedirect:
        return None
    except HTTPException:
        raise AssertionError(f"a link leads nowhere: {address}") from None
    return None if endpoint.startswith(NOT_PAGES) else endpoint
