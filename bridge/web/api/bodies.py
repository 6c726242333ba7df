"""Bodies of requests to the API, read as strictly as webhooks: RFC 8259, a size limit, a time limit."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import gevent
from flask import Request
from flask_smorest import Blueprint
from gunicorn.http.errors import ParseException
from marshmallow import RAISE, Schema, missing
from webargs.flaskparser import FlaskParser, is_json_request

from bridge.errors import Unreadable
from bridge.sdk.strict_json import parse
from bridge.web.api.common import refuse
from bridge.web.hooks import BODY_SECONDS

__all__ = ["BODY_ERRORS", "ApiBlueprint", "read_body"]

#: What an operation with a body may answer beside its own errors.
BODY_ERRORS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)


class _StrictParser(FlaskParser):
    """webargs' own parser accepts duplicate keys, NaN and lone surrogates, and deep nesting makes it answer 500.

    It also ignores unknown parameters: a mistyped `filter` would list everything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": RAISE}

    def load_json(self, req: Request, schema: Schema) -> Any:
        raw = read_body(req)
        if not raw:
            return missing
        if not is_json_request(req):
            refuse(415, "the body's media type must be application/json. Remedy: send it as Content-Type")
        try:
            return parse(raw)
        except Unreadable as error:
            refuse(400, str(error))


class ApiBlueprint(Blueprint):  # type: ignore[misc]  # flask-smorest has no types
    """A blueprint whose bodies are read strictly."""

    ARGUMENTS_PARSER = _StrictParser()


def read_body(req: Request) -> bytes:
    """The raw body, which can be read again. Refuses one that is too long or does not come."""
    try:
        with gevent.Timeout(BODY_SECONDS):
            return req.get_data()
    except gevent.Timeout:
        refuse(408, f"body incomplete after {BODY_SECONDS:g} s")
    except OSError:
        # The sender has disconnected and will not see the answer.
        refuse(400, "body incomplete")
    except (ParseException, ValueError):
        refuse(400, "body not readable. Remedy: send it with Content-Length")
