"""A learning record store over HTTP, as strict as xAPI 1.0.3 lets one be. Ralph's models judge the statements."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Flask, Response, request

from bridge.config.model import Authorization, Subscription
from tests.support.servers import serving

__all__ = ["Lrs", "statement_problem", "subscription"]

_VOIDED = "http://adlnet.gov/expapi/verbs/voided"


def statement_problem(statement: Any) -> str | None:
    """What is wrong with a statement, by the models of another project."""
    # They take longer to import than all our modules: only where they are needed.
    from pydantic import ValidationError
    from ralph.models.xapi.base.statements import BaseXapiStatement

    try:
        BaseXapiStatement.model_validate(statement)
    except ValidationError as error:
        return str(error)
    return None


class Lrs:
    """Stores what it accepts, all of a request or nothing. `url` is that of its statements, while it is `served`."""

    def __init__(self) -> None:
        self.url = ""
        self.stored: dict[str, dict[str, Any]] = {}
        #: Headers and number of statements of every request.
        self.requests: list[tuple[Mapping[str, str], int]] = []
        #: Statuses to answer with instead, the next first.
        self.faults: list[int] = []
        #: Refuses a statement for a reason of its own.
        self.refuses: Callable[[Mapping[str, Any]], bool] = lambda statement: False
        #: Stores the good statements of a request and reports the others, as Ralph can be told to.
        self.partial = False

    @contextmanager
    def served(self) -> Iterator[Lrs]:
        """Answer requests."""
        app = Flask("lrs")
        app.add_url_rule("/xAPI/statements", view_func=self._post, methods=["POST"])
        with serving(app) as address:
            self.url = f"{address}/xAPI/statements"
            yield self

    @property
    def valid(self) -> dict[str, dict[str, Any]]:
        """The statements that a report would show: neither voided nor voiding."""
        voided = {each["object"]["id"] for each in self.stored.values() if each["verb"]["id"] == _VOIDED}
        return {
            ident: each for ident, each in self.stored.items() if ident not in voided and each["verb"]["id"] != _VOIDED
        }

    def _post(self) -> Response:
        given = json.loads(request.get_data())
        self.requests.append((dict(request.headers), len(given)))
        if self.faults:
            return Response(status=self.faults.pop(0))
        if request.headers.get("authorization", "").partition(" ")[0] != "Basic":
            return Response(status=401)
        if b64decode(request.headers["authorization"].partition(" ")[2]) != b"bridge:pw":
            return Response(status=401)
        if not request.headers.get("x-experience-api-version", "").startswith("1.0"):
            return Response("version", 400)
        return self._partial(given) if self.partial else self._all(given)

    def _all(self, given: list[dict[str, Any]]) -> Response:
        ids = [each.get("id") for each in given]
        if not given or len(set(ids)) < len(ids) or any(map(self._is_bad, given)):
            return Response("bad statement", 400)
        if any(self.stored.get(each["id"], each) != each for each in given):
            return Response("conflict", 409)
        self.stored |= {each["id"]: each for each in given}
        return Response(json.dumps(ids), 200)

    def _partial(self, given: list[dict[str, Any]]) -> Response:
        good = [each for each in given if not self._is_bad(each)]
        self.stored |= {each["id"]: each for each in good}
        report = {"inserted": len(good), "rejected": len(given) - len(good)}
        return Response(json.dumps(report), 200 if good else 400)

    def _is_bad(self, statement: dict[str, Any]) -> bool:
        return self.refuses(statement) or statement_problem(statement) is not None


def subscription(lrs: Lrs, **members: Any) -> Subscription:
    """A subscription of an LRS."""
    known: dict[str, Any] = {
        "name": "lrs",
        "transport": "http",
        "format": "xapi",
        "url": lrs.url,
        "allow_private": True,
        "authorization": Authorization("pw", "bridge"),
        "public_url": "https://bridge.example.org",
    }
    return Subscription(**{**known, **members})
