"""Nothing of a person and no secret reaches the output of the processes, whatever happens, at debug level."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import API_TOKEN, SECRET, TOKEN, Web, post, result, sign

pytestmark = pytest.mark.usefixtures("starts_processes")

CANARY = "CANARY-7f3a"


def test_no_output_holds_a_person_a_token_or_a_signature(own_server: Server, tmp_path: Path) -> None:
    web = Web(tmp_path / "web", own_server.url, level="debug", body_seconds=1)
    person = {
        "first": CANARY,
        "email": f"{CANARY}@example.test",
        "view_results_url": f"https://x.example.test/{CANARY}",
    }
    body = result(1, **person)
    broken = result(2, **person, percentage=CANARY)
    twice = body.replace(b'"last"', f'"{CANARY}": 1, "{CANARY}"'.encode())
    requests = [
        (post(f"/webhooks/closed/{TOKEN}?note={CANARY}", body), 200),
        (post(f"/webhooks/closed/{TOKEN}", body), 200),
        (post(f"/webhooks/closed/{TOKEN}", result(1, **person, points_scored=1.0)), 200),
        (post("/webhooks/eu", broken), 200),
        (post("/webhooks/eu", twice), 200),
        (post("/webhooks/eu", f'{{"{CANARY}": '.encode()), 200),
        (post("/webhooks/eu", body, X_Classmarker_Hmac_Sha256=CANARY, Authorization=CANARY, Cookie=CANARY), 401),
        (post("/webhooks/eu", body, X_Classmarker_Hmac_Sha256=sign(body)[::-1], User_Agent=CANARY), 401),
        (post(f"/webhooks/{CANARY}", body), 404),
        (post(f"/webhooks/eu/{CANARY}", body), 404),
        (post("/webhooks/eu", body, Content_Type=CANARY), 415),
        (post("/webhooks/eu", body, Content_Length=f"{len(body) + 1}"), 408),
        (f"GET /{CANARY} HTTP/1.1\r\n\r\n".encode(), 404),
        (f"{CANARY}\r\n\r\n".encode(), 400),
        (f"GET / HTTP/1.1\r\n{CANARY}\r\n\r\n".encode(), 400),
    ]
    for raw, status in requests:
        answer = web.exchange(raw)
        assert answer.status == status
        assert CANARY.encode() not in answer.body + repr(answer.headers).encode()
    own_server.kill9()
    assert web.exchange(post(f"/webhooks/closed/{TOKEN}", body)).status == 503
    until(lambda: web.get("/readyz?verbose").status == 503)
    own_server.start()
    until(lambda: web.get("/readyz").status == 200)
    numbers = web.get("/metrics", Authorization=f"Bearer {API_TOKEN}")
    assert (numbers.status, CANARY.encode() in numbers.body) == (200, False)
    web.close()
    output = web.log.read_text()
    # A silent log would prove nothing.
    assert '"webhook_answered"' in output
    assert '"webhook_rejected"' in output
    assert '"state_unavailable"' in output
    for secret in (CANARY, TOKEN, API_TOKEN, SECRET, sign(body), sign(body)[::-1]):
        assert secret not in output
