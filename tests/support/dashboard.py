"""The dashboard without a browser: pages as text, and forms sent as a browser sends them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from bridge.services import Services
from bridge.web import create_app
from tests.support.watches_api import OpenGate

__all__ = ["Dashboard"]

_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


class Dashboard:
    """Signed in with a token, unless it is None."""

    def __init__(self, services: Services, token: str | None = "op-token") -> None:
        self.client: FlaskClient = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
        self.client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
        if token is not None:
            answer = self.client.post("/ui/sign-in", data={"token": token})
            assert answer.status_code == 303, answer.text

    def get(self, path: str, *, status: int = 200) -> str:
        """The text of a page below `/ui/`."""
        answer = self.client.get(f"/ui/{path}")
        assert answer.status_code == status, f"{answer.status_code} {answer.headers.get('Location')}"
        return answer.text

    def visit(self, address: str) -> TestResponse:
        """What an address of this site leads to."""
        return self.client.get(address, follow_redirects=True)

    def press(self, path: str, action: str, **fields: str | list[str]) -> str:
        """Send the form of an action on a page, with its hidden fields; the text of the page that it leads to.

        `fields`: what is typed in, or instead of a hidden field.
        """
        return self.send(action, self.form(self.get(path), action), **fields)

    def form(self, page: str, action: str) -> dict[str, list[str]]:
        """The hidden fields of the form of an action in the text of a page."""
        form = re.search(rf'<form[^>]*action="/ui/do/{re.escape(action)}".*?</form>', page, re.DOTALL)
        assert form is not None, f"no button for {action}"
        hidden: dict[str, list[str]] = {}
        for name, value in _HIDDEN.findall(form[0]):
            hidden.setdefault(name, []).append(unescape(value))
        return hidden

    def send(self, action: str, hidden: Mapping[str, list[str]], **fields: str | list[str]) -> str:
        """Send a form with these hidden fields; the text of the page that it leads to."""
        return self.follow(self.client.post(f"/ui/do/{action}", data={**hidden, **fields}))

    def submit(self, path: str, *, to: str = "", status: int = 303, **fields: str) -> str:
        """Send the form of a page that goes `to` a page, to the same one without it.

        Answers the page that it leads to or, for another status, the answer itself.
        """
        target = to or path
        form = re.search(rf'<form method="post" action="/ui/{re.escape(target)}".*?</form>', self.get(path), re.DOTALL)
        assert form is not None, f"no form on {path}"
        hidden = {name: unescape(value) for name, value in _HIDDEN.findall(form[0])}
        answer = self.client.post(f"/ui/{target}", data={**hidden, **fields})
        assert answer.status_code == status, f"{answer.status_code} {answer.text}"
        return self.follow(answer) if status == 303 else answer.text

    def follow(self, answer: TestResponse) -> str:
        """The text of the page that an answer leads to."""
        assert answer.status_code == 303, f"{answer.status_code} {answer.text}"
        page = self.client.get(answer.headers["Location"])
        assert page.status_code == 200, page.text
        return page.text
