"""Every page of the dashboard over a large state: p50, p95 and bytes, against 200 ms and 150 kB."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from statistics import median

import redis
import yaml
from flask.testing import FlaskClient

from benchmarks.api import TOKEN, browser, bury, fill, oldest, p95
from benchmarks.common import header, server, table, verdict
from bridge.delivery.group_store import FailureGroups
from bridge.services import Services, load
from bridge.web.ui.pages import NAVIGATION, PREFIX

SUBSCRIPTIONS, SOURCES = 200, 50
#: Subscriptions beside `crm` that have given up some deliveries, and how many each.
FAILING, FAILED = 20, 5
#: Pages beside those of the navigation.
DETAILS = (
    "events?filter=source:eu%20passed:false",
    "events?filter=attempt:none-such",
    "events/{event}",
    "attempts/eu/{attempt}",
    "requests?filter=outcome:published",
    "requests/{request}",
    "deliveries?filter=subscription:crm",
    "failure-groups/{group}",
    "dead-letters?filter=subscription:crm",
    "dead-letters/{letter}",
    "subscriptions/crm",
    "sources/eu",
    "replays/new?what=dead_letters&group={group}",
)


def configuration(state: str, folder: str, *, subscriptions: int = SUBSCRIPTIONS, sources: int = SOURCES) -> str:
    """bridge.yaml with so many sources and subscriptions: `eu` and `crm`, and others with numbers."""
    source = {"vendor": "classmarker", "credentials": {"api_key": "k", "api_secret": "s", "webhook_secret": "w"}}
    subscription = {"transport": "celery", "task": "t", "queue": "q"}
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    return yaml.safe_dump(
        {
            "demo": True,
            "bridge": {"name": "acme", "state": state, "broker": f"{state}/1", "data_dir": folder},
            "sources": dict.fromkeys(("eu", *(f"branch-{n:03}" for n in range(1, sources))), source),
            "subscriptions": dict.fromkeys(
                ("crm", *(f"receiver-{n:03}" for n in range(1, subscriptions))), subscription
            ),
            "access": {"tokens": [{"name": "ops", "role": "operator", "sha256": digest}]},
        }
    )


def crowd(services: Services, events: int, letters: int) -> None:
    """Publish events, give up deliveries of them to `crm`, and a few to other subscriptions."""
    fill(services, 0, events)
    bury(services, 0, letters)
    for number in range(1, FAILING + 1):
        bury(services, 0, FAILED, f"receiver-{number:03}")


def reader(services: Services) -> FlaskClient:
    """A browser that has signed in."""
    client = browser(services)
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    answer = client.post(f"{PREFIX}sign-in", data={"token": TOKEN})
    if answer.status_code != 303:
        raise SystemExit(f"signing in: HTTP {answer.status_code}: {answer.text[:300]}")
    return client


def addresses(services: Services) -> list[str]:
    """The pages below `/ui/`, with the ids of the oldest things."""
    client: redis.Redis = services.state
    ids = {**oldest(client), "attempt": "link%3A0"}
    group = FailureGroups(services.deliveries).of("crm")[0]
    listed = [entry.path for entries in NAVIGATION.values() for entry in entries]
    return [*listed, *(page.format(**ids, group=f"crm/{group.fingerprint}") for page in DETAILS)]


def measure(client: FlaskClient, pages: list[str], times: int) -> dict[str, tuple[list[float], int]]:
    """Page -> milliseconds of each of its rounds, in turn with the others, and its bytes.

    The first answer of a process, which reads templates, does not count.
    """
    measured: dict[str, tuple[list[float], int]] = {page: ([], 0) for page in pages}
    for page in pages:
        client.get(f"{PREFIX}{page}")
    for _ in range(times):
        for page, (values, _) in measured.items():
            started = time.perf_counter()
            answer = client.get(f"{PREFIX}{page}")
            values.append((time.perf_counter() - started) * 1000)
            # The ids of requests made here are all of one moment: those of a long filling are not found.
            if answer.status_code != 200 and not page.startswith("requests/"):
                raise SystemExit(f"{page}: HTTP {answer.status_code}: {answer.text[:300]}")
            measured[page] = values, len(answer.data)
    return measured


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--dead-letters", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=20)
    given = options.parse_args()
    title = f"Pages over {given.events:,} events, {given.dead_letters:,} dead letters, {SUBSCRIPTIONS} subscriptions"
    header(title, "redis", "hiredis", "flask", "jinja2")
    with server() as address, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bridge.yaml"
        path.write_text(configuration(address, folder))
        services = load(config_path=path)
        crowd(services, given.events, given.dead_letters)
        measured = measure(reader(services), addresses(services), given.rounds)
    rows = [
        [f"/ui/{page}", f"{median(values):.1f}", f"{p95(values):.1f}", f"{size / 1000:.1f}"]
        for page, (values, size) in measured.items()
    ]
    table(["", "p50 ms", "p95 ms", "kB"], rows)
    slowest = max(measured, key=lambda page: p95(measured[page][0]))
    largest = max(measured, key=lambda page: measured[page][1])
    verdict(f"slowest p95, /ui/{slowest}", p95(measured[slowest][0]), 200.0, least=False, unit=" ms")
    verdict(f"largest, /ui/{largest}", measured[largest][1] / 1000, 150.0, least=False, unit=" kB")


if __name__ == "__main__":
    main()
