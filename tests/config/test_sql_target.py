"""Subscriptions of transport `sql` in bridge.yaml: which addresses and names are accepted, and what is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config import loader
from bridge.config.description import describe
from bridge.config.model import Config
from bridge.errors import ConfigError

Read = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_members(members: str) -> Config:
        file = tmp_path / "bridge.yaml"
        file.write_text(
            "bridge: {name: acme, public_url: 'https://bridge.example.org'}\n"
            f"subscriptions: {{one: {{transport: sql, {members}}}}}\n"
        )
        environment = {"PW": "hunter%2F2", "RAW": "hun/ter2", "URL": "postgresql://bridge:hunter2@db/results"}
        return loader.read(file, vendors={}, environment=environment)

    return from_members


def test_the_defaults_are_one_table_that_is_created(read: Read) -> None:
    subscription = read("url: 'postgresql://bridge:${PW}@db.example.org:6432/results?sslmode=require'").subscriptions[
        "one"
    ]
    assert subscription.url == "postgresql://bridge:hunter%2F2@db.example.org:6432/results?sslmode=require"
    assert (subscription.schema, subscription.table, subscription.create) == (None, "attempts", True)
    shown = describe(read("url: '${URL}', schema: grades, table: T1, create: false"))["subscriptions"]["one"]
    assert shown["url"] == "postgresql://bridge:****@db/results"
    assert (shown["schema"], shown["table"], shown["create"]) == ("grades", "T1", False)
    assert "concurrency" not in shown


def test_the_path_of_a_file_starts_at_the_folder_of_the_configuration(read: Read, tmp_path: Path) -> None:
    assert read("url: sqlite:///results.db").subscriptions["one"].url == f"sqlite:///{tmp_path}/results.db"
    assert read("url: sqlite:////srv/results.db").subscriptions["one"].url == "sqlite:////srv/results.db"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ("table: x", "url: missing: transport sql needs it"),
        ("url: 'mysql://db/results'", '"mysql://" is not supported in this version; use postgresql://'),
        ("url: results.db", "an address without a scheme is not supported"),
        (
            "url: 'postgresql://bridge:hunter2@db/results'",
            "url: holds a literal password. Remedy: write it as ${ENV_NAME}",
        ),
        ("url: 'postgresql://db/results?password=hunter2'", "holds a literal password in its parameters"),
        ("url: 'postgresql://bridge:${RAW}@db/results'", "percent-encode special characters"),
        ("url: 'sqlite://'", "is not the path of a file"),
        ("url: 'sqlite:///:memory:'", "is not the path of a file"),
        ("url: 'sqlite:///a.db?mode=ro'", "is not the path of a file"),
        ("url: 'sqlite:///a.db', schema: x", "schema: SQLite has no schemas. Remedy: remove it"),
        ("url: 'sqlite:///a.db', table: 'a\"; DROP TABLE b; --'", "is not a valid name; use 1 to 40 of"),
        ("url: 'postgresql://db/x', schema: pg_catalog", '"pg_catalog" is a name of the database\'s own'),
        ("url: 'sqlite:///a.db', table: sqlite_x", "is a name of the database's own"),
        ("url: 'sqlite:///a.db', create: 'yes'", "create: must be true or false"),
        ("url: 'sqlite:///a.db', queue: x", "queue: belongs to transport celery or kombu, not to sql"),
        ("url: 'sqlite:///a.db', receipts: {required: true}", "receipts: belongs to transport celery or kombu"),
    ],
)
def test_what_is_wrong_is_one_line_without_a_password(read: Read, members: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(members)
    (problem,) = caught.value.problems
    assert said in problem
    assert "hunter2" not in problem
    assert "ter2" not in problem


def test_keys_of_tables_belong_to_sql_alone(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(
        "bridge: {name: acme, public_url: 'https://bridge.example.org'}\n"
        "subscriptions: {one: {transport: celery, task: t, queue: q, table: x}}\n"
    )
    with pytest.raises(ConfigError, match="table: belongs to transport sql, not to celery"):
        loader.read(file, vendors={}, environment={})
