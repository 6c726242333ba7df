"""Viewers: no answer of the API has an e-mail address, wherever an error, an answer or an id brought it."""

from __future__ import annotations

from pathlib import Path

import redis
from flask.testing import FlaskClient

from tests.support import erasing
from tests.support.watches_api import TOKENS


def test_a_viewer_reads_no_address_in_any_list_or_item(state: redis.Redis, tmp_path: Path) -> None:
    services = erasing.make_services(state, tmp_path)
    client = erasing.make_client(services)
    for person in (erasing.SAM, erasing.OTHER):
        erasing.fill(services, client, person)
    paths = [*_lists(client), *_items(client)]
    assert len(paths) > 25
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['viewer']}"
    texts = {path: client.get(path).text.lower() for path in paths}
    addresses = [person.email.lower() for person in (erasing.SAM, erasing.OTHER)]
    leaks = [f"{path}: {text}" for path, text in texts.items() for address in addresses if address in text]
    assert "\n".join(leaks) == ""


def _lists(client: FlaskClient) -> list[str]:
    paths = client.get("/api/v1/openapi.json").json["paths"]
    return [path for path, item in paths.items() if "get" in item and "{" not in path and "stream" not in path]


def _items(client: FlaskClient) -> list[str]:
    """One of every kind."""
    paths = []
    for resource, name in (
        ("sources", "name"),
        ("backfills", "id"),
        ("failure-groups", "id"),
        ("deliveries", "id"),
        ("dead-letters", "id"),
        ("requests", "id"),
        ("quarantine", "id"),
        ("events", "id"),
        ("replays", "id"),
        ("reconciliations", "id"),
        ("subscriptions", "name"),
    ):
        rows = client.get(f"/api/v1/{resource}").json[resource.replace("-", "_")]
        paths += [f"/api/v1/{resource}/{row[name]}" for row in rows[:3]]
    number = erasing.job_number(erasing.SAM)
    return [*paths, f"/api/v1/sources/eu/tests/{number}"]
