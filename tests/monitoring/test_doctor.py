"""The doctor: every judgement, and the refusal of a server that would forget."""

from __future__ import annotations

import base64
import math
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace

import pytest
import redis
from kombu import Connection

from bridge.config import loader
from bridge.config.model import Config
from bridge.errors import ConfigError, StateUnavailable
from bridge.monitoring import doctor, server_checks, total_time
from bridge.monitoring.doctor import FAILURE, OK, WARNING, Finding, examine
from bridge.monitoring.state_checks import identity, require_safe_state, require_same_bridge
from bridge.registry import vendors
from bridge.services import Services, clients_of
from bridge.settings import Settings
from bridge.sql.opening import database_of
from bridge.state import keys
from bridge.state.repartition import RUNNING, STOPPED, Repartition
from tests.support.dripping import Dripping

HEAD = "demo: true\nbridge: {name: acme}\n"
SOURCE = "vendor: classmarker, credentials: {api_key: key, api_secret: secret, webhook_secret: phrase}"
SOURCES = HEAD + f"sources:\n  eu: {{{SOURCE}}}\n"
WHSEC, OTHER = ("whsec_" + base64.b64encode(seed * 32).decode() for seed in (b"0", b"1"))


@pytest.fixture
def read(tmp_path):
    def from_text(text: str) -> Config:
        (tmp_path / "bridge.yaml").write_text(text)
        return loader.read(tmp_path / "bridge.yaml", vendors=vendors(), environment={"WHSEC": WHSEC, "OTHER": OTHER})

    return from_text


@pytest.fixture
def services(server):
    def over(config: Config, state_url: str = "", broker_url: str = "") -> Services:
        return Services(
            settings=Settings(),
            config=config,
            vendors=vendors(),
            state_url=state_url or server.url,
            broker_url=broker_url or server.broker_url,
            clients=clients_of(state_url or server.url),
        )

    return over


def findings(services: Services) -> dict[str, doctor.Finding]:
    """The last finding of each name."""
    return {finding.name: finding for finding in examine(services)}


@pytest.mark.parametrize(
    ("finding", "status"),
    [
        (server_checks.version({"redis_version": "7.0.15"}), OK),
        (server_checks.version({"redis_version": "7.2.4", "valkey_version": "9.1.2"}), OK),
        (server_checks.version({"redis_version": "10.0.0"}), OK),
        (server_checks.version({"redis_version": "6.2.14"}), FAILURE),
        (server_checks.version({}), FAILURE),
        (server_checks.eviction({"maxmemory_policy": "noeviction"}), OK),
        (server_checks.eviction({"maxmemory_policy": "allkeys-lru"}), FAILURE),
        (server_checks.eviction({"maxmemory_policy": "volatile-ttl"}), FAILURE),
        (server_checks.clock_skew(-1.9), OK),
        (server_checks.clock_skew(2.1), WARNING),
        (server_checks.clock_skew(-3.0), WARNING),
        (server_checks.memory({"used_memory": 70, "maxmemory": 100}), OK),
        (server_checks.memory({"used_memory": 71, "maxmemory": 100}), WARNING),
        (server_checks.memory({"used_memory": 10**12, "maxmemory": 0}), OK),
        (server_checks.listpack("256"), OK),
        (server_checks.listpack("128"), WARNING),
        (server_checks.listpack(None), WARNING),
    ],
)
def test_a_fact_has_a_status_and_a_remedy_unless_it_is_ok(finding, status):
    assert finding.status == status
    assert bool(finding.remedy) == (status != OK)


@pytest.mark.parametrize(
    ("info", "appendfsync", "statuses"),
    [
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, "always", {OK}),
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, "everysec", {OK, WARNING}),
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, None, {OK, WARNING}),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "always", {OK, FAILURE}),
        ({"aof_enabled": 0}, "always", {WARNING}),
    ],
)
def test_durability_is_checked(info, appendfsync, statuses):
    assert {finding.status for finding in server_checks.durability(info, appendfsync)} == statuses


def test_a_server_with_our_settings_is_safe(state):
    require_safe_state(state)


def test_no_process_starts_on_a_server_that_evicts_keys(own_server):
    client = own_server.client()
    client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(ConfigError, match="CONFIG SET maxmemory-policy noeviction"):
        require_safe_state(client)
    client.close()


def test_an_unreachable_server_is_unavailable_and_not_a_configuration_error():
    client = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=1)
    with pytest.raises(StateUnavailable):
        require_safe_state(client)
    client.close()


def test_a_healthy_bridge_without_processes_has_warnings_only_about_them(services, read, own_server):
    by_name = findings(services(read(SOURCES), own_server.url, own_server.broker_url))
    missing = {"web", "worker", "beat", "dispatch", "API tokens"}
    assert {name for name, check in by_name.items() if check.status != OK} == missing
    assert by_name["broker of the bridge"].text == "answers, noeviction"


def test_tokens_are_listed_and_without_any_the_remedy_creates_one(services, read, tmp_path):
    nobody = {"state_url": "redis://127.0.0.1:1/0", "broker_url": "redis://127.0.0.1:1/1"}
    finding = findings(services(read(HEAD), **nobody))["API tokens"]
    assert (finding.status, "401" in finding.text) == (WARNING, True)
    assert finding.remedy == "attempt-bridge tokens new, then name it under access.tokens"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "api-token.sha256").write_text("no hash\n")
    finding = findings(services(read(HEAD), **nobody))["API tokens"]
    assert (finding.status, "holds no SHA-256" in finding.text, "delete it" in finding.remedy) == (FAILURE, True, True)
    named = f"access: {{tokens: [{{name: ops, role: viewer, sha256: {'a' * 64}}}]}}\n"
    assert findings(services(read(HEAD + named), **nobody))["API tokens"].text == "ops (viewer)"


def test_heartbeats_are_checked_by_age(services, read, state):
    over = services(read(SOURCES))
    state.set("ab:heartbeat:worker", f"{over.now() - 3:.3f}")
    state.set("ab:heartbeat:beat", f"{over.now() - 300:.3f}")
    by_name = findings(over)
    assert (by_name["worker"].status, by_name["beat"].status) == (OK, WARNING)
    assert "attempt-bridge beat" in by_name["beat"].remedy


def test_a_process_that_uses_another_broker_than_the_configuration_is_a_failure(services, read, state):
    made = services(read(SOURCES))
    state.set(keys.broker_in_use("worker"), "redis://:**@elsewhere:6379/7")
    state.set(keys.broker_in_use("beat"), Connection(made.broker_url).as_uri())
    by_name = findings(made)
    assert by_name["broker of worker"].status == FAILURE
    assert "elsewhere:6379/7, but the configuration says redis://:**@127.0.0.1:" in by_name["broker of worker"].text
    assert "broker of beat" not in by_name


def test_another_number_of_partitions_than_at_the_first_start_is_a_failure(services, read, state):
    state.hset("ab:bridge", mapping={"name": "acme", "partitions": "4"})
    finding = findings(services(read(SOURCES)))["partitions"]
    assert finding.status == FAILURE
    assert finding.remedy.startswith("set bridge.partitions: 4")


@pytest.mark.own_partitions
def test_name_and_partitions_are_fixed_at_the_first_start(state, read):
    first = read(SOURCES).bridge
    require_same_bridge(state, first)
    require_same_bridge(state, first)
    # Who serves more than there are is ready for a change of their number.
    more = replace(first, partitions=2)
    require_same_bridge(state, more)
    assert identity(more, state.hgetall("ab:bridge")).status == WARNING
    assert Repartition(state, configured=1).begin(2, now=1.0)
    assert identity(more, state.hgetall("ab:bridge")) == Finding("partitions", OK, "2")
    with pytest.raises(ConfigError, match=r"has 2\. Remedy: set bridge.partitions: 2"):
        require_same_bridge(state, first)
    with pytest.raises(ConfigError, match="created with acme"):
        require_same_bridge(state, replace(first, name="other"))


def test_a_broker_in_the_database_of_the_state_is_a_warning(services, read, server):
    same = server.url.replace("127.0.0.1", "localhost")
    finding = findings(services(read(SOURCES), broker_url=same))["broker of the bridge"]
    assert finding.status == WARNING
    assert "same database as the state" in finding.text


def test_a_broker_that_does_not_answer_is_named_with_its_users(services, read):
    text = SOURCES + (
        "subscriptions:\n  books: {transport: celery, task: t, queue: q, broker: 'redis://127.0.0.1:1/0'}\n"
        "  rabbit: {transport: kombu, exchange: x, broker: 'amqp://127.0.0.1:1'}\n"
    )
    by_name = findings(services(read(text)))
    for name in ("broker of books", "broker of rabbit"):
        assert (by_name[name].status, by_name[name].unreachable) == (FAILURE, True)


def test_a_state_that_does_not_answer_is_one_finding(services, read):
    over = services(read(HEAD), state_url="redis://127.0.0.1:1/0")
    unreachable = [finding.name for finding in examine(over) if finding.unreachable]
    assert unreachable == ["state server"]


#: Protocol -> what a server sends at once, then again and again, a byte at a time: the client waits for more.
DRIPS = {"redis": (b"$100000\r\n", b"x"), "amqp": (b"\x01\0\0\0\0\xff\xff", b"x")}


@pytest.fixture
def dripping(starts_servers, monkeypatch):
    monkeypatch.setattr(total_time, "TOTAL_SECONDS", 0.5)
    servers = {scheme: Dripping(*drips) for scheme, drips in DRIPS.items()}
    yield {scheme: f"{scheme}://127.0.0.1:{server.port}" for scheme, server in servers.items()}
    for server in servers.values():
        server.close()


def test_brokers_that_answer_a_byte_at_a_time_are_named_and_the_others_are_checked(services, read, dripping):
    text = SOURCES + (
        f"subscriptions:\n  books: {{transport: celery, task: t, queue: q, broker: '{dripping['redis']}/0'}}\n"
        f"  rabbit: {{transport: kombu, exchange: x, broker: '{dripping['amqp']}'}}\n"
    )
    by_name = findings(services(read(text)))
    for name in ("broker of books", "broker of rabbit"):
        finding = by_name[name]
        assert (finding.status, finding.unreachable) == (FAILURE, True)
        assert finding.text == "no complete answer within 0.5 s"
    assert by_name["broker of the bridge"].status == by_name["source eu"].status == OK


def test_a_state_server_that_answers_a_byte_at_a_time_is_named_and_the_rest_is_checked(services, read, dripping):
    by_name = findings(services(read(SOURCES), state_url=f"{dripping['redis']}/0"))
    assert by_name["state server"].text == "no complete answer within 0.5 s"
    assert by_name["state server"].unreachable
    assert by_name["broker of the bridge"].status == by_name["source eu"].status == OK


def test_subscriptions_that_cannot_deliver_are_named_with_a_remedy(services, read, state):
    text = SOURCES + (
        "subscriptions:\n"
        "  one: {transport: celery, task: t, queue: q, filter: {sources: ['us-*']}}\n"
        "  two: {transport: celery, task: t, queue: q}\n"
        "  inner: {transport: http, url: https://localhost/x, secrets: ['${WHSEC}']}\n"
    )
    state.hset("ab:{0}:state:two", mapping={"disabled": "410 Gone"})
    by_name = findings(services(read(text)))
    assert by_name["subscription two"].status == FAILURE
    assert "subscriptions resume two" in by_name["subscription two"].remedy
    assert '"us-*" matches no source' in by_name["subscription one"].text
    assert by_name["personal data of subscription two"].status == WARNING
    assert "personal data of subscription one" not in by_name
    assert "not public" in by_name["subscription inner"].text


def test_a_secret_that_expires_soon_is_a_warning_and_then_a_failure(services, read):
    text = SOURCES + (
        "subscriptions:\n  crm: {transport: http, url: https://localhost/x, data: minimal, "
        "secrets: ['${OTHER}', {secret: '${WHSEC}', expires: 2026-12-31}]}\n"
    )
    bridge, moment = services(read(text)), 1_798_675_200.0
    for now, status in ((moment - 13 * 86_400, WARNING), (moment, FAILURE)):
        finding = findings(replace(bridge, now=lambda now=now: now))["secrets of subscription crm"]
        assert finding.status == status
        assert finding.text.startswith("secrets[1] expire")
        assert WHSEC not in finding.text + finding.remedy
    assert "secrets of subscription crm" not in findings(replace(bridge, now=lambda: moment - 15 * 86_400))


def test_the_database_of_a_subscription_is_checked_and_nothing_is_created(services, read, tmp_path):
    text = "subscriptions: {{results: {{transport: sql, url: 'sqlite:///results.db', table: t, create: {}}}}}\n"
    lazy, strict = (services(read(HEAD + text.format(create))) for create in ("true", "false"))
    name = "database of subscription results"
    assert (findings(lazy)[name].status, findings(lazy)[name].remedy) == (
        WARNING,
        "start dispatch: it creates the tables",
    )
    assert (findings(strict)[name].status, findings(strict)[name].text) == (FAILURE, "the file does not exist")
    file = tmp_path / "results.db"
    assert not file.exists()
    subscription = lazy.config.subscriptions["results"]
    database = database_of(subscription)
    database.check()
    database.close()
    assert findings(strict)[name] == Finding(
        name, OK, f'SQLite {sqlite3.sqlite_version}, tables "t" and "t_events" of sqlite:///{file}, version 1'
    )
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE t_version SET version = 2")
        connection.commit()
    finding = findings(lazy)[name]
    assert (finding.status, finding.unreachable) == (FAILURE, False)
    assert finding.text == 'the tables "t" have version 2, this bridge writes version 1'
    file.write_bytes(b"noise" * 500)
    assert findings(lazy)[name].text == "the file is not an SQLite database (SQLITE_NOTADB)"


def test_the_services_of_a_subscription_are_known_and_apprise_is_installed(services, read, tmp_path, monkeypatch):
    (tmp_path / "url").write_text("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    text = f"subscriptions: {{ops: {{transport: notify, urls: [{{file: {tmp_path}/url}}]}}}}\n"
    bridge, name = services(read(HEAD + text)), "services of subscription ops"
    assert findings(bridge)[name] == Finding(name, OK, "Slack; attempt-bridge subscriptions test ops sends a message")
    (tmp_path / "url").write_text("slak://T1JJ3T3L2")
    wrong = findings(services(read(HEAD + text)))[name]
    assert (wrong.status, wrong.text) == (FAILURE, 'urls[0]: "slak://" is not a service of Apprise')
    monkeypatch.setitem(sys.modules, "apprise", None)
    missing = findings(bridge)[name]
    assert (missing.status, missing.remedy) == (FAILURE, "pip install 'apprise>=2.3,<2.4'")


def test_more_polls_than_the_budget_allows_are_a_warning(services, read):
    finding = findings(services(read(SOURCES[:-2] + ", poll: {every: 1m}}\n")))["source eu"]
    assert finding.status == WARNING
    assert finding.text == "120 polls per 1h, its budget is 30 calls"


def test_a_stopped_source_is_named_with_a_remedy(services, read, state):
    bridge = services(read(SOURCES))
    bridge.budgets.pause_until("eu", math.inf, "the vendor refused the key")
    finding = findings(bridge)["source eu"]
    assert (finding.status, finding.text) == (FAILURE, "the vendor refused the key")
    assert finding.remedy == "fix the cause, then attempt-bridge sources resume eu"
    bridge.budgets.pause("eu")
    finding = findings(bridge)["source eu"]
    assert (finding.status, finding.text) == (WARNING, "paused by an operator")
    assert finding.remedy == "attempt-bridge sources resume eu"
    bridge.budgets.resume("eu")
    assert findings(bridge)["source eu"].status == OK


def test_a_task_unacknowledged_for_long_is_a_warning_about_the_visibility_timeout(read, services, server):
    name = "visibility timeout, broker of the bridge"
    broker = redis.Redis.from_url(server.broker_url)
    bridge = services(read(SOURCES))
    assert findings(bridge)[name].status == OK
    broker.zadd("unacked_index", {"fresh": bridge.now() - 20})
    assert findings(bridge)[name].status == OK
    broker.zadd("unacked_index", {"old": bridge.now() - 900})
    warning = findings(bridge)[name]
    assert warning.status == WARNING
    assert " s old: it will run again" in warning.text
    assert "visibility_timeout" in warning.remedy


@pytest.mark.own_partitions
def test_partitions_over_which_nothing_is_spread_any_more_are_given_up_when_they_are_empty(state, read):
    of_one = read(SOURCES).bridge
    of_three = replace(of_one, partitions=3)
    require_same_bridge(state, of_three)
    change = Repartition(state, configured=3)
    assert change.begin(1, now=1.0)
    state.sadd(keys.subscriptions(), "crm")
    state.xadd(keys.journal(2), {"id": "1"})
    state.zadd(keys.retry("crm", 1), {"event": 1.0})
    assert change.change(RUNNING, STOPPED)
    finding = identity(of_three, state.hgetall("ab:bridge"))
    assert (finding.status, finding.remedy) == (WARNING, "attempt-bridge partitions resume")
    assert "the change from 3 to 1 is stopped" in finding.text
    assert change.change(STOPPED, RUNNING)
    assert change.end(1, now=2.0)
    for key in (keys.journal(2), keys.retry("crm", 1)):
        with pytest.raises(ConfigError, match="this state has 3"):
            require_same_bridge(state, of_one)
        state.xtrim(key, 0) if key == keys.journal(2) else state.delete(key)
    require_same_bridge(state, of_one)
    assert (change.read().width, state.hget("ab:bridge", "partitions")) == (1, b"1")
