"""Signing in with a token or with the one-time code of `up`, and signing out."""

from __future__ import annotations

from flask import Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from bridge.web.ui.blueprint import AFTER_SIGN_IN, PageBlueprint
from bridge.web.ui.calls import Refused, call, read
from bridge.web.ui.pages import PREFIX, render_page
from bridge.web.ui.targets import local_target

__all__ = ["blueprint"]

blueprint = PageBlueprint("sign_in", __name__)


@blueprint.get("/sign-in")
def show() -> AnyResponse:
    """The form. A code of `up` is in the address. A reader who is signed in goes to the overview."""
    code = request.args.get("code", "")
    return redirect(PREFIX, 303) if not code and _is_known() else _form(code)


def _is_known() -> bool:
    try:
        read("session")
    except Refused:
        return False
    return True


@blueprint.post("/sign-in")
def open_session() -> AnyResponse:
    """Open a session, and go to the page that was requested."""
    given = {name: request.form[name].strip() for name in ("token", "code") if request.form.get(name, "").strip()}
    try:
        answer = call("POST", "session", body=given)
    except Refused as refused:
        return _form("", refused)
    response = redirect(local_target(request.cookies.get(AFTER_SIGN_IN, "")), 303)
    response.headers.extend([("Set-Cookie", cookie) for cookie in answer.cookies])
    response.delete_cookie(AFTER_SIGN_IN, path=PREFIX)
    return response


@blueprint.post("/sign-out")
def close_session() -> AnyResponse:
    """End the session."""
    answer = call("DELETE", "session", headers={"X-CSRF-Token": request.form.get("csrf", "")})
    response = redirect(f"{PREFIX}sign-in", 303)
    response.headers.extend([("Set-Cookie", cookie) for cookie in answer.cookies])
    return response


def _form(code: str, refused: Refused | None = None) -> Response:
    status = 200 if refused is None else refused.status
    return render_page("sign_in.html", title="Sign in", status=status, code=code, refused=refused)
