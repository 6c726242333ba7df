"""Headers and authorisation of http subscriptions: what is read, what is refused in one line, and what is shown."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from bridge.config import loader
from bridge.config.description import describe
from bridge.config.model import Config
from bridge.errors import ConfigError

CANARY = "canary-0123456789abcdef"
ENVIRONMENT = {
    "WHSEC": "whsec_" + base64.b64encode(b"0" * 32).decode(),
    "CANARY": CANARY,
    "LONG": "x" * 4097,
    "BREAK": "a\nb",
    "SPACED": "Bearer x",
}
HEAD = "bridge: {name: acme, public_url: https://bridge.example.org}\nsubscriptions:\n  crm:\n    "
CRM = "transport: http\n    url: https://crm.example.org/x\n    secrets: ['${WHSEC}']\n    data: minimal\n    "


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def from_text(members: str) -> Config:
        (tmp_path / "secret").write_text(f"{CANARY}\n")
        (tmp_path / "bridge.yaml").write_text(f"{HEAD}{CRM}{members}\n")
        return loader.read(tmp_path / "bridge.yaml", vendors={}, environment=ENVIRONMENT)

    return from_text


def test_headers_may_be_written_in_the_file_and_secrets_come_from_elsewhere(read: Any) -> None:
    members = "headers: {X-Tenant: acme, X-Api-Key: '${CANARY}', X-Trace: {file: secret}, X-Unset: }"
    config = read(members)
    assert config.subscriptions["crm"].own_headers == {"X-Tenant": "acme", "X-Api-Key": CANARY, "X-Trace": CANARY}
    masked = f"****{CANARY[-4:]}"
    shown = describe(config)["subscriptions"]["crm"]
    assert shown["headers"] == {"X-Tenant": "acme", "X-Api-Key": masked, "X-Trace": masked}
    assert "authorization" not in shown
    assert CANARY not in repr(config) + str(describe(config))


def test_authorisation_is_bearer_or_basic_and_is_masked(read: Any) -> None:
    bearer = read("authorization: {bearer: '${CANARY}'}")
    assert bearer.subscriptions["crm"].own_headers == {"authorization": f"Bearer {CANARY}"}
    assert describe(bearer)["subscriptions"]["crm"]["authorization"] == {"bearer": f"****{CANARY[-4:]}"}
    basic = read("authorization: {basic: {user: Zoë, password: {file: secret}}}")
    login = base64.b64encode(f"Zoë:{CANARY}".encode()).decode()
    assert basic.subscriptions["crm"].own_headers == {"authorization": f"Basic {login}"}
    shown = describe(basic)["subscriptions"]["crm"]["authorization"]
    assert shown == {"basic": {"user": "Zoë", "password": f"****{CANARY[-4:]}"}}
    for config in (bearer, basic):
        assert CANARY not in repr(config) + str(describe(config))


def test_headers_of_the_connection_and_those_that_the_bridge_sets_are_refused_each_in_one_line(read: Any) -> None:
    connection = ["Connection", "keep-alive", "TE", "Trailer", "transfer-encoding", "Upgrade"]
    bridge = ["Host", "user-agent", "Accept-Encoding", "Expect", "Content-Type", "content-length", "Webhook-Id"]
    bridge += ["bridge-replay", "Proxy-Authorization"]
    with pytest.raises(ConfigError) as caught:
        read(f"headers: {{{', '.join(f'{name}: x' for name in connection + bridge)}}}")
    said = {line.split("headers.")[1].partition(": ")[::2] for line in caught.value.problems}
    assert {name for name, problem in said if problem.startswith("concerns the connection")} == set(connection)
    assert {name for name, problem in said if problem.startswith("is set by the bridge")} == set(bridge)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ("headers: [a]", "headers: must be a section of header names with their values, not a list"),
        ("headers: {'X Y': a}", "headers.X Y: is not the name of a header"),
        ("headers: {'X:': a}", "is not the name of a header"),
        (f"headers: {{{'x' * 65}: a}}", "is not the name of a header. Remedy: up to 64"),
        ("headers: {Authorization: '${CANARY}'}", "has a key of its own. Remedy: write it as authorization: {bearer"),
        ("headers: {X-A: a, X-a: b}", "headers.X-a: is the same header as X-A. Remedy: remove one of them"),
        ("headers: {X-Api-Key: literal}", "headers.X-Api-Key: a secret must not be in this file. Remedy: write ${ENV"),
        ("headers: {Cookie: literal}", "headers.Cookie: a secret must not be in this file"),
        ("headers: {X-Version: 2}", "headers.X-Version: must be text, not a number; put it in quotes"),
        ("headers: {X-A: ''}", "headers.X-A: is empty"),
        ('headers: {X-A: "a\\nb"}', "headers.X-A: holds a line break or another invisible character"),
        ('headers: {X-A: "a\\x00b"}', "headers.X-A: holds a NUL character"),
        ("headers: {X-A: '${BREAK}'}", "headers.X-A: holds a line break"),
        ("headers: {X-A: ' a'}", "headers.X-A: begins or ends with a space"),
        ("headers: {X-A: '1 €'}", "headers.X-A: holds a character that a header cannot have. Remedy: use ASCII"),
        ("headers: {X-A: '${LONG}'}", "headers.X-A: has 4097 characters. Remedy: at most 4096"),
        (f"headers: {{X-A: {'a' * 3500}, X-B: {'b' * 3000}}}", "headers: has 6506 characters in all. Remedy: at most"),
        (f"headers: {{{', '.join(f'X-{n}: a' for n in range(21))}}}", "headers: has 21 headers. Remedy: at most 20"),
        ("headers: {X-A: '${NOT_SET}'}", "environment variable NOT_SET is not set"),
        ("authorization: '${CANARY}'", "authorization: must be a section of keys, not text"),
        ("authorization: {}", "authorization: has none of basic and bearer. Remedy: write one of them"),
        (
            "authorization: {bearer: '${CANARY}', basic: {user: a, password: '${CANARY}'}}",
            "authorization: has 2 of basic and bearer",
        ),
        ("authorization: {bearer: literal}", "authorization.bearer: a secret must not be in this file"),
        (
            "authorization: {bearer: '${SPACED}'}",
            "authorization.bearer: holds a space or a character that is not ASCII",
        ),
        ("authorization: {baerer: '${CANARY}'}", 'authorization.baerer: unknown key. Did you mean "bearer"?'),
        ("authorization: {basic: {user: a}}", "authorization.basic.password: missing"),
        ("authorization: {basic: {user: a, password: b}}", "password: a secret must not be in this file"),
        ("authorization: {basic: {user: 'a:b', password: '${CANARY}'}}", "basic.user: holds a colon"),
        ("authorization: {basic: {user: a, password: '${LONG}'}}", "password: has 4097 bytes. Remedy: at most 1024"),
    ],
)
def test_what_cannot_be_sent_is_one_line(read: Any, members: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(members)
    (problem,) = caught.value.problems
    assert said in problem
    assert not any(value in str(caught.value) for value in (CANARY, "xxxxxxx" * 20))
