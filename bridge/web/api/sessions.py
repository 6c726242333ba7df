"""`/api/v1/session`: logging in with a token for the user interface, and who the caller is."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Response, current_app, g, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from bridge.config import access
from bridge.config.model import Token
from bridge.state.sign_in_code import SignInCode
from bridge.web.api.auditing import audited, not_a_change
from bridge.web.api.bodies import BODY_ERRORS, ApiBlueprint
from bridge.web.api.common import (
    VIEWER,
    Caller,
    caller_here,
    failed_login,
    needs,
    refuse,
    refuse_if_blocked,
    require,
    services_here,
)
from bridge.web.api.description import described
from bridge.web.api.members import sound
from bridge.web.sessions import COOKIE, SECONDS, Sessions

__all__ = ["PATH", "blueprint", "check_csrf"]

PATH = "/api/v1/session"

blueprint = ApiBlueprint("session", __name__, url_prefix=PATH, description="Logging in with a browser.")


class Login(Schema):
    """A token or a one-time code."""

    token = fields.String(
        validate=[sound, validate.Length(1, 500)],
        metadata={"description": "A token, as `attempt-bridge tokens new` prints it."},
    )
    code = fields.String(
        validate=[sound, validate.Length(1, 500)],
        metadata={"description": "The code of the sign-in link that `attempt-bridge up` prints; it can be used once."},
    )

    @validates_schema
    def _one(self, data: Mapping[str, Any], **_: Any) -> None:
        if len({"token", "code"} & data.keys()) != 1:
            raise ValidationError("give either token or code")


class SessionRow(Schema):
    """Who the caller is."""

    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True, metadata={"description": "Name of the token, or of the proxy's user."})
    role = fields.String(required=True, metadata={"description": "`viewer` or `operator`."})
    csrf = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "What changes must send as `X-CSRF-Token`; null where the call itself has a token."},
    )
    public_url = fields.String(required=True, metadata={"description": "Where clients reach the bridge."})


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showSession")
@blueprint.response(200, SessionRow, description="The caller")
def show_session() -> dict[str, Any]:
    """Show who the caller is

    With a token, a session's cookie or a trusted proxy's header.
    """
    return _row(caller_here())


@blueprint.route("", methods=["POST"])
@described(blueprint, "openSession", HTTPStatus.FORBIDDEN, *BODY_ERRORS, public=True)
@blueprint.arguments(Login, example={"token": "THE-TOKEN"})
@blueprint.response(201, SessionRow, description="Logged in; the cookie is set")
def open_session(document: Mapping[str, Any]) -> Response:
    """Log in with a token or a one-time code

    Sets a cookie for 12 hours that no script can read and no other site can send. Changes also need the header
    `X-CSRF-Token`. The session ends early when its token is removed from `access.tokens`. A code is for the
    token that `up` has made: such a session ends when `access.tokens` names any token.
    """
    refuse_if_blocked()
    token = _token_of_code(document["code"]) if "code" in document else _known_token(document["token"])
    if not access.includes(token.role, VIEWER):
        refuse(403, f"role {token.role} cannot log in. Remedy: use the token of a viewer or an operator")
    services = services_here()
    secret, session = Sessions(services.state).open(token)
    answer = jsonify(_row(Caller(session.name, session.role, session.csrf)))
    answer.status_code = 201
    answer.set_cookie(
        COOKIE,
        secret,
        max_age=SECONDS,
        httponly=True,
        samesite="Strict",
        secure=services.config.bridge.public_url.startswith("https://"),
    )
    # The audit records who has logged in.
    g.caller = Caller(session.name, session.role, session.csrf)
    audited("session", after={"signed_in_with": "one-time code" if "code" in document else "a token"})
    return answer


@blueprint.route("", methods=["DELETE"])
@needs(VIEWER)
@described(blueprint, "closeSession")
@blueprint.response(204, description="Logged out")
def close_session() -> Response:
    """Log out

    Ends the session of the cookie, also for anybody with a copy of it. Without a cookie nothing happens.
    """
    secret = request.cookies.get(COOKIE)
    if secret is None:
        not_a_change()
    else:
        Sessions(services_here().state).close(secret)
        audited("session")
    answer = Response(status=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="Strict")
    return answer


def check_csrf() -> None:
    """Refuse a change that a foreign page may have made a browser send: one with only a cookie or a proxy's header."""
    caller = caller_here()
    if caller is None or caller.csrf is None:
        return
    if not hmac.compare_digest(request.headers.get("X-CSRF-Token", "").encode(), caller.csrf.encode()):
        refuse(403, f"missing or wrong X-CSRF-Token. Remedy: send `csrf` of GET {PATH} in it")


def _known_token(given: str) -> Token:
    token = access.token_of(f"Bearer {given}", _accepted())
    if token is None:
        failed_login("unknown token. Remedy: run attempt-bridge tokens new, add its entry to access.tokens")
    return token


def _token_of_code(code: str) -> Token:
    """The token that `up` has made the code for: the session ends with it."""
    digest = SignInCode(services_here().state).redeem(code)
    token = next((token for token in _accepted() if token.sha256.lower() == digest), None)
    if token is None:
        failed_login("unknown, used or expired code. Remedy: use a token, or start attempt-bridge up again")
    return token


def _accepted() -> tuple[Token, ...]:
    accepted: tuple[Token, ...] = current_app.extensions["bridge.tokens"]
    return accepted


def _row(caller: Caller | None) -> dict[str, Any]:
    if caller is None:
        require(VIEWER)
        raise AssertionError("require refuses")
    public_url = services_here().config.bridge.public_url
    return {"name": caller.name, "role": caller.role, "csrf": caller.csrf, "public_url": public_url}
