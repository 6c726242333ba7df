"""The blueprint of every page, and the pages shown for errors."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from bridge.web.ui.calls import Refused
from bridge.web.ui.pages import PREFIX, problem_page, render_page

__all__ = ["AFTER_SIGN_IN", "PageBlueprint", "refused_page"]

#: Cookie with the page that was requested before signing in.
AFTER_SIGN_IN = "bridge_after_sign_in"
_DETAILS = {
    400: "the form is incomplete. Remedy: open the page again",
    404: "there is no such page. Remedy: choose one from the navigation",
    413: "the form is too large. Remedy: send less at a time",
    405: "this address takes forms only. Remedy: choose a page from the navigation",
}


class PageBlueprint(Blueprint):
    """A blueprint below `/ui/` whose errors are pages. `path`: of all its pages, such as `sources`."""

    def __init__(self, name: str, import_name: str, path: str = "") -> None:
        super().__init__(f"ui_{name}", import_name, url_prefix=f"{PREFIX}{path}".rstrip("/"))
        self.register_error_handler(Refused, refused_page)
        self.register_error_handler(HTTPException, _failed)


def _failed(error: HTTPException) -> Response:
    status = error.code or 500
    return problem_page(status, _DETAILS.get(status, "unexpected error. Remedy: see the log of web"))


def refused_page(refused: Refused) -> AnyResponse:
    """The page for a call that a view did not expect to be refused."""
    if refused.status == 401:
        return _ask_to_sign_in(refused)
    return render_page("problem.html", title="Problem", status=refused.status, refused=refused)


def _ask_to_sign_in(refused: Refused) -> AnyResponse:
    """Send the reader to the sign-in form; a page that refreshes itself goes there as a whole."""
    target = request.full_path.rstrip("?") if request.method == "GET" else PREFIX
    address = f"{PREFIX}sign-in"
    if request.headers.get("HX-Request"):
        return Response(refused.detail, status=401, headers={"HX-Redirect": address}, content_type="text/plain")
    answer = redirect(address, 303)
    answer.set_cookie(AFTER_SIGN_IN, target, max_age=600, path=PREFIX, httponly=True, samesite="Strict")
    return answer
