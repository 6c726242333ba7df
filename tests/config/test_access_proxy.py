"""Users whom a trusted proxy names, and whose address a request has behind one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge import registry
from bridge.config import loader
from bridge.config.access import client_address, proxy_user
from bridge.config.description import describe
from bridge.config.model import TrustedProxy
from bridge.errors import ConfigError

PROXY = TrustedProxy(
    header="X-Forwarded-User", from_=("10.0.0.0/8", "fd00::/8"), roles={"operator": ("ann", "ops-*"), "viewer": ("*",)}
)


@pytest.mark.parametrize(
    ("peer", "given", "user"),
    [
        ("10.1.2.3", "ann", ("ann", "operator")),
        ("::ffff:10.1.2.3", "ops-7", ("ops-7", "operator")),
        ("fd00::1", "ann@example.test", ("ann@example.test", "viewer")),
        ("10.1.2.3", "", None),
        ("10.1.2.3", "ann,bob", None),
        ("10.1.2.3", "a n", None),
        ("10.1.2.3", "a" * 101, None),
        ("192.0.2.1", "ann", None),
        ("127.0.0.1", "ann", None),
        ("", "ann", None),
    ],
)
def test_only_a_trusted_proxy_names_users(peer: str, given: str, user: tuple[str, str] | None) -> None:
    assert proxy_user(PROXY, peer, given) == user


def test_a_user_in_no_role_has_none() -> None:
    proxy = TrustedProxy(header="X-User", from_=("10.0.0.0/8",), roles={"operator": ("ann",)})
    assert proxy_user(proxy, "10.0.0.1", "bob") == ("bob", "")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", "198.51.100.9", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "forged", "10.0.0.1"),
    ],
)
def test_the_clients_address_is_what_the_last_trusted_proxy_saw(peer: str, forwarded: str, address: str) -> None:
    assert client_address(PROXY, peer, forwarded) == address
    assert client_address(None, peer, forwarded) == peer


def read(folder: Path, access: str) -> Any:
    path = folder / "bridge.yaml"
    path.write_text(f"demo: true\nbridge: {{name: acme}}\naccess: {access}\n")
    return loader.read(path, vendors=registry.vendors(), environment={})


def test_the_section_is_read_and_shown_as_it_is_written(tmp_path: Path) -> None:
    proxy = '{header: X-Forwarded-User, from: ["10.0.0.0/8"], roles: {operator: [ann]}}'
    config = read(tmp_path, f"{{viewers_see_persons: true, proxy: {proxy}}}")
    assert config.access.proxy == TrustedProxy(
        header="X-Forwarded-User", from_=("10.0.0.0/8",), roles={"operator": ("ann",)}
    )
    shown = describe(config)["access"]
    assert shown["viewers_see_persons"] is True
    assert shown["proxy"] == {"header": "X-Forwarded-User", "from": ["10.0.0.0/8"], "roles": {"operator": ["ann"]}}


@pytest.mark.parametrize(
    ("proxy", "problem"),
    [
        ('{header: Host, from: ["10.0.0.0/8"], roles: {}}', 'access.proxy.header: "Host" is not a header'),
        ('{header: X, from: ["0.0.0.0/0"], roles: {}}', "access.proxy.from[0]: trusts every address"),
        ('{header: X, from: ["10.0.0.1/8"], roles: {}}', "access.proxy.from[0]: "),
        ("{header: X, from: [], roles: {}}", "access.proxy.from: is empty"),
        ("{header: X}", "access.proxy.from: missing"),
        ('{header: X, from: ["10.0.0.0/8"], roles: {admin: [ann]}}', "access.proxy.roles.admin: unknown key"),
        ('{header: X, from: ["10.0.0.0/8"], roles: {operator: ann}}', "must be a list of names"),
        ('{header: X, frm: ["10.0.0.0/8"], roles: {}}', 'access.proxy.frm: unknown key. Did you mean "from"?'),
    ],
)
def test_a_proxy_that_would_open_the_api_is_refused(tmp_path: Path, proxy: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"{{proxy: {proxy}}}")
    assert problem in str(caught.value)
