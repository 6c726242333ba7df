"""The queries of the Grafana dashboard and of the alerts read what `/metrics` of a bridge really has."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from bridge.cli import COMMANDS
from bridge.config.model import PollConfig, Subscription
from bridge.state import keys
from bridge.web import create_app
from bridge.web.gate import Gate
from tests.support.promql import Scrape, labels_of, metrics_of, scraped
from tests.support.web import API_TOKEN, result, services_over, sign

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/prometheus-alerts.yaml").read_text())["groups"][0]["rules"]
#: Of a cluster alone: which server it is, where the panel of `bridge_state_up` says that one is away.
OF_A_CLUSTER = {"bridge_state_server_up"}
#: Samples of the library that nobody asks for.
CREATED = re.compile(r"_created$")


@pytest.fixture
def scrape(tmp_path: Path, state: redis.Redis) -> Scrape:
    """`/metrics` after a webhook, of a bridge that polls and delivers and has refused a message."""
    services = services_over(tmp_path, state)
    source = replace(services.config.sources["eu"], poll=PollConfig())
    crm = Subscription(name="crm", transport="http")
    config = replace(services.config, sources={"eu": source}, subscriptions={"crm": crm})
    state.hset(keys.refused(), "attempt-bridge.receipts|no_json", 1)
    client = create_app(replace(services, config=config), gate=Gate(lambda: None)).test_client()
    body = result(1)
    answer = client.post(
        "/webhooks/eu", data=body, content_type="application/json", headers={"X-Classmarker-Hmac-Sha256": sign(body)}
    )
    assert answer.status_code == 200
    return scraped(client.get("/metrics", headers={"Authorization": f"Bearer {API_TOKEN}"}).text)


def queries(panel: dict[str, Any]) -> list[tuple[str, str]]:
    """Expression with Grafana's variables filled in, and legend, of each query."""
    filled = [re.sub(r"\$\w+", "any", target["expr"].replace("$__rate_interval", "5m")) for target in panel["targets"]]
    return list(zip(filled, [target["legendFormat"] for target in panel["targets"]], strict=True))


def test_every_panel_reads_metrics_and_labels_that_are_scraped(scrape: Scrape) -> None:
    for panel in PANELS:
        for expression, legend in queries(panel):
            assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels_of(expression, scrape), panel["title"]


def test_the_dashboard_shows_every_metric_of_the_bridge(scrape: Scrape) -> None:
    shown = {name for panel in PANELS for expression, _ in queries(panel) for name in metrics_of(expression)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in scrape if not CREATED.search(name)}
    assert families - OF_A_CLUSTER == {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}


def test_the_variables_of_the_dashboard_are_labels_that_are_scraped_and_each_is_used(scrape: Scrape) -> None:
    text = json.dumps(PANELS)
    datasource, *variables = DASHBOARD["templating"]["list"]
    assert (datasource["name"], datasource["type"], datasource["query"]) == ("datasource", "datasource", "prometheus")
    assert set(re.findall(r"\$\{?([a-z]\w*)", text)) == {datasource["name"], *(each["name"] for each in variables)}
    for each in variables:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", each["query"]["query"]).groups()  # type: ignore[union-attr]
        assert label in scrape[metric], each["name"]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for first, second in combinations((panel["gridPos"] for panel in panels), 2):
        apart_x = first["x"] + first["w"] <= second["x"] or second["x"] + second["w"] <= first["x"]
        apart_y = first["y"] + first["h"] <= second["y"] or second["y"] + second["h"] <= first["y"]
        assert apart_x or apart_y, (first, second)
    assert [panel["title"] for panel in panels if panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24] == []


def test_numbers_about_the_state_are_not_added_up_over_web_processes(scrape: Scrape) -> None:
    """Each web process that is scraped has all of them: max or min reads them, sum what a process counts."""
    counted = ("bridge_webhook_", "bridge_publish_", "bridge_unconfirmed_")
    for panel in PANELS:
        for expression, _ in queries(panel):
            for name in metrics_of(expression):
                inner = re.search(rf"(\w+)(?: by \([\w, ]+\))? ?\((?:rate\(|increase\()?{name}\b", expression)
                assert inner is not None, expression
                assert (inner[1] == "sum") == name.startswith(counted), expression


def test_every_alert_reads_metrics_and_labels_that_are_scraped_and_names_a_command(scrape: Scrape) -> None:
    assert len(RULES) >= 10
    for rule in RULES:
        assert metrics_of(rule["expr"]), rule["alert"]
        labels = labels_of(rule["expr"], scrape)
        assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= labels, rule["alert"]
        for noun in re.findall(r"attempt-bridge ([a-z-]+)", rule["annotations"]["remedy"]):
            assert noun in COMMANDS, rule["alert"]


def test_a_seldom_stream_of_a_single_item_is_left_to_the_alarm_too() -> None:
    (rule,) = (rule for rule in RULES if rule["alert"] == "BridgePollStale")
    left_out = re.search(r'stream!~"(.+?)"', rule["expr"])[1]  # type: ignore[index]
    for stream in ("again", "again:quiz-7", "rereads:a:b"):
        assert re.fullmatch(left_out, stream), stream
    for stream in ("candidates", "forms:again", "forms:rereads", "againagain", "again2:x"):
        assert not re.fullmatch(left_out, stream), stream
