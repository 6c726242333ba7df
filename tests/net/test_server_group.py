"""Addresses of several servers: what they name, and one line for whatever is wrong with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.addresses import without_password, without_user
from bridge.config.queues import same_server
from bridge.config.schemas import state_problem
from bridge.config.yaml_document import Reference
from bridge.net.server_group import ServerGroup, group_problem, is_group, server_group


@pytest.mark.parametrize(
    ("address", "group"),
    [
        (
            "redis+sentinel://h1:26380,h2,h3/mymaster/3",
            ServerGroup(kind="sentinel", hosts=(("h1", 26380), ("h2", 26379), ("h3", 26379)), master="mymaster", db=3),
        ),
        ("redis+sentinel://h1/m", ServerGroup(kind="sentinel", hosts=(("h1", 26379),), master="m")),
        ("redis+sentinel://h1/m/", ServerGroup(kind="sentinel", hosts=(("h1", 26379),), master="m")),
        (
            "rediss+sentinel://ann:p%40ss:%2F@[::1]:7,S_1.example/m-1?sentinel_password=a%26b&sentinel_username=s",
            ServerGroup(
                kind="sentinel",
                hosts=(("::1", 7), ("s_1.example", 26379)),
                master="m-1",
                user="ann",
                password="p@ss:/",
                sentinel_user="s",
                sentinel_password="a&b",
                tls=True,
            ),
        ),
        (
            "REDISS+CLUSTER://:pw@h1:7000,h2?ssl_ca_certs=/etc/ca.pem",
            ServerGroup(
                kind="cluster",
                hosts=(("h1", 7000), ("h2", 6379)),
                password="pw",
                tls=True,
                tls_parameters=(("ssl_ca_certs", "/etc/ca.pem"),),
            ),
        ),
        ("redis+cluster://h1/", ServerGroup(kind="cluster", hosts=(("h1", 6379),))),
        ("redis+cluster://h1/0", ServerGroup(kind="cluster", hosts=(("h1", 6379),))),
    ],
)
def test_an_address_of_several_servers_is_read(address: str, group: ServerGroup) -> None:
    assert server_group(address) == group
    assert state_problem(Reference(address.partition("?ssl")[0])) is None


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("redis+sentinel://", "server 1 is missing. Remedy: write servers like redis+sentinel://h1:26379,h2,h3/"),
        ("redis+sentinel:///mymaster", "server 1 is missing"),
        ("redis+cluster://h1,,h2", "server 2 is missing. Remedy: write servers like redis+cluster://h1:6379,h2,h3"),
        ("redis+sentinel://h1,h2", "names no primary. Remedy: write it after the sentinels, like redis+sentinel://"),
        ("redis+sentinel://h1,h2/", "names no primary"),
        ("redis+sentinel://h1/my master", '"my master" is not the name of a primary'),
        ("redis+sentinel://h1/m/one", 'database "one" is not a number. Remedy: write it like /0 at the end'),
        ("redis+sentinel://h1/m/-1", 'database "-1" is not a number'),
        ("redis+sentinel://h1/m/0/1", 'database "0/1" is not a number'),
        ("redis+sentinel://h1:x/m", 'port "x" of server 1 is not a number from 1 to 65535'),
        ("redis+sentinel://h1,h2:0/m", 'port "0" of server 2 is not a number from 1 to 65535'),
        ("redis+sentinel://h1:65536/m", 'port "65536" of server 1'),
        ("redis+sentinel://h1:/m", 'port "" of server 1'),
        ("redis+sentinel://h1:26379,H1/m", "names H1 twice. Remedy: name each server once"),
        ("redis+sentinel://h1;h2/m", 'server 1 "h1;h2" is not a host name or address. Remedy: write servers like'),
        ("redis+sentinel://::1/m", 'server 1 "::1" is not a host name'),
        ("redis+sentinel://[::1/m", 'server 1 "[::1" is not a host name'),
        ("redis+sentinel://h1/m#0", "is not a valid address. Remedy: write user and password once"),
        ("redis+sentinel://u:one@h1,u:one@h2/m", "is not a valid address. Remedy: write user and password once"),
        ("redis+sentinel://h1/m?db=1", '"db" is not a parameter of such an address; it takes sentinel_username'),
        ("redis+cluster://h1?sentinel_password=x", '"sentinel_password" is not a parameter'),
        ("redis+sentinel://h1/m?sentinel_username=x", "names sentinel_username without sentinel_password"),
        ("redis+sentinel://h1/m?sentinel_password=", "sentinel_password is empty"),
        ("redis+sentinel://h1/m?sentinel_password=a&sentinel_password=b", "sentinel_password is given twice"),
        ("redis+cluster://h1/1", "database 1: a Redis Cluster has only database 0. Remedy: leave it out"),
        ("redis+cluster://h1/mymaster/0", 'database "mymaster/0" is not a number'),
        ("redis+cluster://ann@h1", "names a user without a password. Remedy: write user:password@"),
        ("redis+cluster://@h1", "names a user without a password"),
        (
            "redis+cluster://h1?ssl_ca_certs=/etc/ca.pem",
            "ssl_ca_certs belongs to rediss://, amqps://, rediss+sentinel:// and rediss+cluster:// only",
        ),
        ("rediss+cluster://h1?ssl_cert_reqs=none", "ssl_cert_reqs would turn off the verification"),
        ("rediss+sentinel://h1/m?ssl_ca_certs=ca.pem", "ssl_ca_certs is not a readable file"),
    ],
)
def test_each_bad_address_of_several_servers_has_one_line(address: str, problem: str) -> None:
    given = state_problem(Reference(address))
    assert given is not None
    assert given.startswith(problem)
    assert "\n" not in given


@given(st.text(), st.sampled_from(["redis+sentinel", "rediss+cluster"]))
def test_any_text_after_the_scheme_is_an_address_or_a_problem(text: str, scheme: str) -> None:
    address = f"{scheme}://{text}"
    problem = group_problem(address)
    assert is_group(address)
    assert problem is None or ("\n" not in problem and len(problem) < 400)


@pytest.mark.parametrize("password", ["hun/ter2", "hun@ter2", "hun?ter2", "hun#ter2", "hun?a@ter2"])
def test_a_password_that_is_not_encoded_is_refused_and_not_quoted(password: str) -> None:
    for address in (f"redis+sentinel://u:{password}@h1,h2/m", f"redis+cluster://:{password}@h1"):
        problem = state_problem(Reference(address))
        assert problem is not None
        assert "percent-encode" in problem
        assert "hun" not in problem
        assert "ter2" not in problem


@pytest.mark.parametrize(
    "address",
    [
        "redis+sentinel://:hunter2@h1,h2/m/0",
        "redis+sentinel://hunter2@h1,h2/m/0",
        "redis+sentinel://h1/m?sentinel_password=hunter2",
        "rediss+cluster://ann:hunter2@h1",
    ],
)
def test_a_literal_password_of_several_servers_is_refused_and_never_shown(address: str) -> None:
    problem = state_problem(address)
    assert problem is not None
    assert problem.startswith("holds a literal password")
    for text in (problem, without_password(address), without_user(address), repr(group_or_none(address))):
        assert "hunter2" not in text


def group_or_none(address: str) -> ServerGroup | None:
    return None if group_problem(address) else server_group(address)


def test_what_is_shown_of_an_address_names_its_servers() -> None:
    address = "redis+sentinel://ann:hunter2@h1:26380,h2/mymaster/3?sentinel_password=hunter2"
    assert without_password(address) == "redis+sentinel://ann:****@h1:26380,h2/mymaster/3?sentinel_password=****"
    assert without_user(address) == "redis+sentinel://h1:26380,h2/mymaster/3?sentinel_password=****"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("redis+sentinel://h3,h2/m/0", True),
        ("rediss+sentinel://:pw@H1/m", True),
        ("redis+sentinel://h1,h2/m/1", False),
        ("redis+sentinel://h1,h2/other", False),
        ("redis+sentinel://h1:7,h4/m", False),
        ("redis://h1:26379/0", False),
        ("redis+cluster://h1,h2", False),
    ],
)
def test_two_addresses_that_share_a_sentinel_a_name_and_a_database_are_one_server(other: str, same: bool) -> None:
    assert same_server("redis+sentinel://h1,h2/m", other) is same
    assert same_server(other, "redis+sentinel://h1,h2/m") is same
