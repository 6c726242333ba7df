"""Bodies of requests to the API, read as strictly as webhooks: RFC 8259 and no more, a size limit, a deadline."""

from __future__ import annotations

from typing import Any

import gevent
from flask import Request
from flask_smorest import Blueprint
from marshmallow import Schema, missing
from webargs.flaskparser import FlaskParser, is_json_request

from bridge.errors import Unreadable
from bridge.sdk.strict_json import parse
from bridge.web.api import refuse
from bridge.web.hooks import BODY_SECONDS

__all__ = ["ApiBlueprint"]


class _StrictParser(FlaskParser):
    """webargs' own parser takes duplicate names, NaN and lone surrogates, and answers 500 to a thousand brackets."""

    def load_json(self, req: Request, schema: Schema) -> Any:
        if not is_json_request(req):
            return missing
        raw = _read(req)
        if not raw:
            return missing
        try:
            return parse(raw)
        except Unreadable as error:
            refuse(400, str(error))


class ApiBlueprint(Blueprint):  # type: ignore[misc]  # flask-smorest has no types
    """A blueprint whose views get bodies that were read strictly."""

    ARGUMENTS_PARSER = _StrictParser()


def _read(req: Request) -> bytes:
    try:
        with gevent.Timeout(BODY_SECONDS):
            return req.get_data()
    except gevent.Timeout:
        refuse(408, f"the body was not complete after {BODY_SECONDS:g} s")
    except OSError:
        # The sender is gone; the answer will find nobody.
        refuse(400, "the body is incomplete")
