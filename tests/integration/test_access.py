"""The API behind proxies, over the real web server: no header of a caller makes it a neighbour or another address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import web as support
from tests.support.servers import Server
from tests.support.web import API_TOKEN, Web, post, result

pytestmark = pytest.mark.usefixtures("starts_processes")

BEARER = f"Bearer {API_TOKEN}"
#: What a client can send through a proxy on this machine; `__` is an underscore.
FORGED = [
    {},
    {"Host": "localhost"},
    {"Host": "127.0.0.1", "X_Forwarded_For": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
    {"SCRIPT__NAME": "/webhooks"},
    {"SCRIPT_NAME": "/webhooks"},
    {"PATH__INFO": "/api/v1/watches"},
    {"PATH_INFO": "/api/v1/watches"},
    {"X_Script_Name": "/webhooks"},
    {"X_Forwarded_Prefix": "/webhooks"},
    {"X_Forwarded_Proto": "https", "X_Forwarded_Ssl": "on", "X_Forwarded_Protocol": "ssl"},
    {"REMOTE__ADDR": "127.0.0.1", "REMOTE__USER": "ops", "HTTP__AUTHORIZATION": BEARER},
    {"X_Original_Url": "/livez", "X_Rewrite_Url": "/livez"},
]


@pytest.fixture(scope="module")
def web(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with pytest.MonkeyPatch.context() as patch:
        # gunicorn reads it.
        patch.setenv("FORWARDED_ALLOW_IPS", "*")
        web = Web(tmp_path_factory.mktemp("web"), shared_server.url)
    yield web
    web.close()


@pytest.mark.parametrize("headers", FORGED, ids=lambda headers: ",".join(headers) or "none")
def test_no_header_opens_the_api_or_the_numbers(web: Web, headers: dict[str, str]) -> None:
    for path in ("/api/v1/watches", "/api/v1/openapi.json", "/metrics"):
        answer = web.get(path, **headers)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert b"deaf" not in answer.body
    # And none leads a request elsewhere than to the address that a proxy has let through.
    for token in ({}, {"Authorization": BEARER}):
        for path in ("/webhooks/api/v1/watches", "/webhooks/../api/v1/watches", "/webhooks//api/v1/watches"):
            assert web.get(path, **headers, **token).status in (404, 405)
    health = web.get("/readyz?verbose", **headers).body
    assert health.startswith(b"[+]state ok\n[+]web ok: heartbeat")
    assert b"deaf" not in health
    assert web.get("/api/v1/watches", **{**headers, "Authorization": BEARER}).status == 200


def test_a_proxys_first_line_is_no_request(web: Web) -> None:
    head = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"
    assert web.exchange(head + b"GET /api/v1/watches HTTP/1.1\r\nHost: bridge\r\n\r\n").status == 400


def test_webhooks_health_and_schemas_ask_for_no_token(web: Web) -> None:
    assert web.exchange(post("/webhooks/eu", result(1))).outcome in ("published", "duplicate")
    for path in ("/livez", "/readyz", "/schemas/attempt/1.0.json"):
        assert web.get(path).status == 200


def test_a_trusted_proxy_names_the_caller_by_its_very_header_alone(
    shared_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = support.write_config

    def trusting(directory: Path, *given: Any) -> Path:
        path = plain(directory, *given)
        proxy = "proxy: {header: X-Forwarded-User, from: ['127.0.0.1/32'], roles: {viewer: [vic]}}"
        path.write_text(path.read_text().removesuffix("}\n") + f", {proxy}}}\n")
        return path

    monkeypatch.setattr(support, "write_config", trusting)
    web = Web(tmp_path / "web", shared_server.url)
    try:
        for headers, status in (
            ({"X_Forwarded_User": "vic"}, 200),
            ({"X_Forwarded_User": "eve"}, 403),
            # With underscores, as a proxy may have let it through, and given twice.
            ({"X__Forwarded__User": "vic"}, 401),
            ({"X_Forwarded_User": "vic", "x_forwarded_user": "eve"}, 401),
            ({}, 401),
        ):
            assert web.get("/api/v1/watches", **headers).status == status, headers
    finally:
        web.close()
