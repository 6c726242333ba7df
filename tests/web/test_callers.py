"""Who may call the API, and what of persons each sees."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from flask.testing import FlaskClient

from bridge.web import create_app
from tests.support.watches_api import LINK, TOKENS, OpenGate, access_of, build

WATCHES = "/api/v1/watches"
PROXY = "proxy: {header: X-Forwarded-User, from: ['10.0.0.0/8'], roles: {operator: [ann], viewer: [vic]}}"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)


def client(state: redis.Redis, folder: Path, *more: str) -> FlaskClient:
    access = access_of(TOKENS).removesuffix("}\n") + "".join(f", {line}" for line in more) + "}\n"
    return create_app(build(state, folder, access=access), gate=OpenGate()).test_client()  # type: ignore[arg-type]


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


@pytest.mark.parametrize("shown", [False, True])
def test_viewers_see_no_persons_unless_the_file_says_so(state: redis.Redis, tmp_path: Path, shown: bool) -> None:
    api = client(state, tmp_path, *(["viewers_see_persons: true"] if shown else []))
    row = api.post(WATCHES, json=LINK, headers=bearer("operator")).json
    assert row["label"] == "HR-7"
    hidden = row if shown else row | {"label": "***", "reference": {"stream": "***", "result": "***"}}
    for address in (f"{WATCHES}/{row['id']}", f"{WATCHES}?source=eu"):
        answer = api.get(address, headers=bearer("viewer")).json
        assert answer.get("watches", [answer]) == [hidden]
        answer = api.get(address, headers=bearer("operator")).json
        assert answer.get("watches", [answer]) == [row]


@pytest.mark.parametrize(
    ("peer", "user", "read", "write"),
    [
        ("10.0.0.7", "ann", 200, 201),
        ("10.0.0.7", "vic", 200, 403),
        ("10.0.0.7", "bob", 403, 403),
        ("127.0.0.1", "ann", 401, 401),
        ("192.0.2.7", "ann", 401, 401),
    ],
)
def test_a_trusted_proxy_names_the_caller(
    state: redis.Redis, tmp_path: Path, peer: str, user: str, read: int, write: int
) -> None:
    api = client(state, tmp_path, PROXY)
    named = {"X-Forwarded-User": user, "X-CSRF-Token": "same-origin"}
    call = {"headers": named, "environ_base": {"REMOTE_ADDR": peer}}
    assert api.get(WATCHES, **call).status_code == read
    assert api.post(WATCHES, json=LINK, **call).status_code == write
    # A token is a token, whoever the proxy says it is.
    call["headers"] |= {"Authorization": "Bearer wrong"}
    assert api.get(WATCHES, **call).status_code == 401


def test_without_a_trusted_proxy_its_header_says_nothing(state: redis.Redis, tmp_path: Path) -> None:
    call = {"headers": {"X-Forwarded-User": "ann"}, "environ_base": {"REMOTE_ADDR": "10.0.0.7"}}
    assert client(state, tmp_path).get(WATCHES, **call).status_code == 401
