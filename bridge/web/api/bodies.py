"""Bodies of requests to the API, read as strictly as webhooks: RFC 8259, a size limit, a time limit."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NoReturn

import gevent
from flask import Request
from flask_smorest import Blueprint
from gunicorn.http.errors import ParseException
from marshmallow import RAISE, Schema, ValidationError, missing
from webargs.flaskparser import FlaskParser, is_json_request

from bridge.errors import Unreadable
from bridge.sdk.strict_json import parse
from bridge.text import did_you_mean
from bridge.web.api.common import refuse
from bridge.web.hooks import BODY_SECONDS

__all__ = ["BODY_ERRORS", "ApiBlueprint", "read_body"]

#: What an operation with a body may answer besides its own errors.
BODY_ERRORS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)


class _StrictParser(FlaskParser):
    """webargs' own parser accepts duplicate keys, NaN and lone surrogates, and deep nesting makes it answer 500.

    It counts a parameter that is given twice only once. `unknown=RAISE`: a mistyped filter must not be ignored.
    """

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        twice = sorted(name for name, values in req.args.lists() if len(values) > 1 and name in schema.fields)
        if twice:
            refuse(
                422, f"{twice[0]}: given twice. Remedy: give it once", errors={name: ["given twice"] for name in twice}
            )
        return super().load_querystring(req, schema)

    def handle_error(self, error: ValidationError, req: Request, schema: Schema, **options: Any) -> NoReturn:
        # webargs nests messages below the location they are about, such as `query`.
        for messages in error.messages.values() if isinstance(error.messages, dict) else ():
            for name in messages if isinstance(messages, dict) else ():
                if messages[name] == [schema.error_messages["unknown"]]:
                    messages[name] = [f"unknown name. {did_you_mean(name, _names(schema))}"]
        super().handle_error(error, req, schema, **options)
        raise AssertionError("webargs raises")

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

    ARGUMENTS_PARSER = _StrictParser(unknown=RAISE)


def _names(schema: Schema) -> list[str]:
    return [field.data_key or name for name, field in schema.fields.items()]


def read_body(req: Request) -> bytes:
    """The raw body, which can be read again. Refuses one that is too long or does not arrive."""
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
