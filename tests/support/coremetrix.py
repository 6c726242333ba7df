"""Coremetrix' client over the simulated vendor or over answers given one by one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from werkzeug.test import Client as WsgiClient

from bridge.vendors.coremetrix import VENDOR

NOW = 1_795_000_000
POLL = VENDOR.polls["attempts"]


@dataclass
class Source:
    name: str = "eu-coremetrix"
    base_url: str = "https://api.vendor.test/"
    credentials: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"api_key": ("INVENTED",)})
    options: dict[str, Any] = field(default_factory=dict)


class Calls:
    """Keeps every call; `answers` are taken first, then the simulated vendor answers."""

    def __init__(self, simulator=None, *answers):
        self.wsgi = WsgiClient(simulator.wsgi) if simulator else None
        self.answers = list(answers)
        self.made: list[tuple[str, dict[str, str]]] = []
        self.clock = float(NOW)

    def now(self):
        return self.clock

    def request(self, method, url, *, params=(), headers=None, body=None, free=False):
        assert (method, headers, body, free) == ("GET", None, None, False)
        self.made.append((url, dict(params)))
        if self.answers:
            status, answer = self.answers.pop(0)
            return status, {}, answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        answer = self.wsgi.open(url, method=method, query_string=list(params))
        return answer.status_code, {}, answer.data


def connect(calls, **options):
    """The vendor's client for a source with these options."""
    return VENDOR.connect(Source(options=options), calls)


def whole_round(client, cursor):
    """All records of a round, the windows that were asked for, and the cursor it ended with."""
    records, more = [], True
    while more:
        page = POLL.fetch(client, cursor)
        records, cursor, more = [*records, *page.records], page.cursor, page.more
    return records, cursor
