"""bridge.yaml: what is read, and the one line that each mistake gets."""

from __future__ import annotations

import base64
import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.config import loader
from bridge.config.description import describe
from bridge.config.model import Config
from bridge.config.schemas import FIELDS
from bridge.errors import ConfigError
from bridge.net.signatures import sha256_hex
from bridge.net.standard_webhooks import new_ed25519_secret, public_key_of
from bridge.query import NumberRange
from bridge.quota.windows import Window
from bridge.registry import vendors as real_vendors
from bridge.sdk.vendor import Credential, Option, Poll, Quota, Vendor
from schemas.event import ATTEMPT_TYPES
from schemas.notices import NOTICE_TYPES
from tests.support.polling import SHEET

TOKEN = "abcdefghijklmnopqrstuv"
WHSEC = "whsec_" + base64.b64encode(b"0" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"1" * 32).decode()
ENVIRONMENT = {"KEY": "key-1", "HOOK_NEW": "new", "HOOK_OLD": "old", "TOKEN": TOKEN, "WHSEC": WHSEC, "EMPTY": ""}
PRIVATE = new_ed25519_secret(b"2" * 32)
# The same key without its public one.
SEED = "whsk_" + base64.b64encode(b"2" * 32).decode()
ENVIRONMENT |= {"OTHER": OTHER, "PRIVATE": PRIVATE, "SEED": SEED, "PUBLIC": public_key_of(PRIVATE) or ""}

POLL = Poll(
    fetch=lambda client, cursor: pytest.fail("a configuration is read without calls"),
    rewind=lambda cursor, overlap: cursor,
    start=lambda moment, until: str(moment),
    position=float,
)
SIGNING = Vendor(
    name="northwind",
    title="Northwind Exams",
    base_url="https://api.northwind.example",
    quota=Quota(calls=30, per_seconds=3600.0),
    credentials={
        "api_key": Credential(help="the key of the API"),
        "webhook_secret": Credential(help="the secret phrase", many=True),
        "proxy_key": Credential(help="for the proxy", required=False),
    },
    sheet=SHEET,
    split=lambda body, options: [],
    normalise=lambda record, now, options: pytest.fail("not here"),
    connect=lambda source, calls: None,
    verify=lambda raw, headers, secrets, now: None,
    secret_credential="webhook_secret",
    options={
        "format": Option(help="form", default="json", choices=("json", "xml")),
        "quizzes": Option(help="ids", default=(), kind="list"),
        "reread": Option(help="how far", default="14d", kind="duration"),
        "confirm": Option(help="ask back", default=True, kind="bool"),
        "depth": Option(help="levels", default=2, kind="int"),
    },
    polls={"results": POLL},
    look_back_limit=90 * 86_400.0,
)
UNSIGNED = replace(SIGNING, name="plain", title="Plain Tests", verify=None, secret_credential=None)
POLLED = replace(UNSIGNED, name="polled", title="Polled Tests", split=None)
ASKED = replace(POLLED, name="asked", title="Asked Tests", polls={})
DAILY = replace(SIGNING, name="daily", quota=Quota(calls=3000, per_seconds=86_400.0, resets_at="13:30"))
FORMS = replace(
    SIGNING,
    name="forms",
    title="Form Tests",
    options={
        "forms": Option(help="the ids of the forms to read", kind="list", required=True),
        "share": Option(help="of the points that is a pass", kind="decimal", default="0.6"),
        "marks": Option(help="pass mark of a form", kind="mapping", values="decimal"),
        "waits": Option(help="how long a form is open", kind="mapping", values="duration"),
        "tries": Option(help="tries at a form", kind="mapping", values="int"),
        "names": Option(help="how a form is called", kind="mapping"),
        "level": Option(help="of each form", kind="mapping", choices=("a1", "b2")),
    },
)
LISTED = replace(
    POLLED,
    name="listed",
    title="Listed Tests",
    options={"quizzes": Option(help="the ids of the quizzes to read", kind="list")},
    polls={"quizzes": replace(POLL, per="quizzes")},
    credentials={},
)
LISTENING = replace(SIGNING, name="listening", options=LISTED.options, polls=LISTED.polls)
MIXED = replace(LISTED, name="mixed", title="Mixed Tests", polls={**LISTED.polls, "all": POLL})
VENDORS = {vendor.name: vendor for vendor in (SIGNING, UNSIGNED, POLLED, ASKED, DAILY, FORMS, LISTED, LISTENING, MIXED)}

HEAD = "bridge: {name: acme, public_url: https://bridge.example.org}\n"
SOURCE = "vendor: northwind, credentials: {api_key: '${KEY}', webhook_secret: '${HOOK_NEW}'}"
SOURCES = HEAD + f"sources:\n  eu: {{{SOURCE}}}\n"


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def from_text(text: str, **options: Any) -> Config:
        file = tmp_path / "bridge.yaml"
        file.write_text(text)
        return loader.read(file, vendors=VENDORS, environment=ENVIRONMENT, **options)

    return from_text


@pytest.fixture
def problems(read: Any, tmp_path: Path) -> Any:
    def of_text(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(text)
        return [problem.removeprefix(f"{tmp_path}/") for problem in caught.value.problems]

    return of_text


def test_the_example_file_is_valid_and_shows_every_transport(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "bridge.example.yaml"
    environment = {"CM_API_KEY": "k", "CM_API_SECRET": "s", "CM_WEBHOOK_SECRET": "w", "CRM_WEBHOOK_SECRET": WHSEC}
    config = loader.read(
        example,
        vendors=real_vendors(),
        environment={
            **environment,
            "WAREHOUSE_BROKER": "amqp://mq.example.org",
            "RESULTS_DB_PASSWORD": "p",
            "ANALYTICS_KAFKA_PASSWORD": "p",
            "OPS_SLACK_TOKENS": "a/b/c",
        },
    )
    assert {subscription.transport for subscription in config.subscriptions.values()} == set(FIELDS)
    assert config.bridge.data_dir == example.parent / "data"


def test_a_source_gets_its_vendors_defaults(read: Any) -> None:
    source = read(SOURCES).sources["eu"]
    assert (source.base_url, source.budget) == ("https://api.northwind.example", Window(30, 3600.0))
    assert source.options == {"format": "json", "quizzes": (), "reread": 14 * 86_400.0, "confirm": True, "depth": 2}
    assert source.credentials == {"api_key": ("key-1",), "webhook_secret": ("new",)}
    assert (source.poll.enabled, source.poll.every, source.webhook.enabled) == (True, 300.0, True)


@pytest.mark.parametrize(
    ("vendor", "budget", "window", "shown"),
    [
        ("northwind", "{calls: 20}", Window(20, 3600.0), {"calls": 20, "per": "1h"}),
        ("northwind", "{per: 1d}", Window(30, 86_400.0), {"calls": 30, "per": "1d"}),
        (
            "northwind",
            "{calls: 99, per: 24h, resets: '00:05'}",
            Window(99, 86_400.0, 300.0),
            {"calls": 99, "per": "1d", "resets": "00:05"},
        ),
        ("daily", "{}", Window(3000, 86_400.0, 48_600.0), {"calls": 3000, "per": "1d", "resets": "13:30"}),
        (
            "daily",
            "{calls: 900, per: 1d}",
            Window(900, 86_400.0, 48_600.0),
            {"calls": 900, "per": "1d", "resets": "13:30"},
        ),
        (
            "daily",
            "{resets: '07:00'}",
            Window(3000, 86_400.0, 25_200.0),
            {"calls": 3000, "per": "1d", "resets": "07:00"},
        ),
        ("daily", "{calls: 100, per: 1h}", Window(100, 3600.0), {"calls": 100, "per": "1h"}),
    ],
)
def test_a_budget_is_the_vendors_quota_where_the_file_says_nothing_else(
    read: Any, vendor: str, budget: str, window: Window, shown: dict[str, Any]
) -> None:
    config = read(_source(f"budget: {budget}").replace("northwind", vendor))
    assert config.sources["eu"].budget == window
    assert describe(config)["sources"]["eu"]["budget"] == shown


@pytest.mark.parametrize(("vendor", "polls"), [("polled", True), ("asked", False)])
@pytest.mark.parametrize("webhook", ["", ", webhook: {enabled: false}", ", webhook: {}"])
def test_a_source_of_a_vendor_without_webhooks_needs_neither_token_nor_setting(
    read: Any, vendor: str, polls: bool, webhook: str
) -> None:
    source = read(SOURCES.replace("northwind", vendor)[:-2] + f"{webhook}}}\n").sources["eu"]
    assert (source.webhook.enabled, source.webhook.token_sha256, source.poll.enabled) == (False, (), polls)


def test_two_secrets_stand_in_the_order_of_the_file(read: Any) -> None:
    text = HEAD + (
        "sources:\n  eu:\n    vendor: northwind\n"
        "    credentials: {api_key: '${KEY}', webhook_secret: ['${HOOK_NEW}', '${HOOK_OLD}']}\n"
    )
    assert read(text).sources["eu"].credentials["webhook_secret"] == ("new", "old")


def test_a_secret_is_read_from_a_file_beside_the_configuration(read: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-file\n")
    text = HEAD + (
        "sources: {eu: {vendor: northwind, credentials: {api_key: {file: secret}, webhook_secret: '${HOOK_NEW}'}}}\n"
    )
    assert read(text).sources["eu"].credentials["api_key"] == ("from-file",)


def test_a_token_is_kept_as_its_hash_only(read: Any) -> None:
    text = HEAD + (
        "sources:\n  eu:\n    vendor: plain\n    credentials: {api_key: '${KEY}', webhook_secret: '${HOOK_NEW}'}\n"
        "    webhook: {token: '${TOKEN}'}\n"
    )
    config = read(text)
    assert config.sources["eu"].webhook.token_sha256 == (sha256_hex(TOKEN),)
    assert TOKEN not in repr(config) + str(describe(config))


def test_numbers_are_numbers_however_they_are_spelled(read: Any) -> None:
    config = read(
        _subscription("transport: celery, task: x, queue: y, filter: {when: {score: 1_000}}").replace(
            "northwind", "northwind, budget: {calls: 0x1F}, options: {depth: 010}"
        )
    )
    assert (config.sources["eu"].budget.calls, config.sources["eu"].options["depth"]) == (31, 8)
    shown = yaml.safe_load(yaml.safe_dump(describe(config)))
    assert shown["subscriptions"]["one"]["filter"]["when"] == {"score": 1000}
    options = read(_forms("forms: a, share: 1_000, marks: {a: 2_000}")).sources["eu"].options
    assert (options["share"], options["marks"]) == (Decimal(1000), {"a": Decimal(2000)})


def _listed(more: str) -> str:
    return HEAD + f"sources: {{eu: {{vendor: listed{more}}}}}\n"


def test_a_source_that_is_not_polled_needs_no_list_of_what_to_poll(read: Any) -> None:
    assert read(_listed(", options: {quizzes: [a]}")).sources["eu"].poll.enabled
    assert read(_listed(", paused: true")).sources["eu"].options == {"quizzes": ()}
    # Another stream is polled.
    assert read(_listed("").replace("listed", "mixed")).sources["eu"].options == {"quizzes": ()}


def _forms(options: str) -> str:
    return _source(f"options: {{{options}}}").replace("northwind", "forms")


def test_decimals_are_exact_and_keys_of_mappings_keep_their_spelling(read: Any) -> None:
    config = read(
        _forms(
            "forms: [a], share: 0.1, marks: {007: 60, b: 60.50, on: '1e1'}, waits: {7: 1h}, tries: {7: 3}, "
            "names: {7: '${KEY}'}, level: {x: b2}"
        )
    )
    options = config.sources["eu"].options
    assert options == {
        "forms": ("a",),
        "share": Decimal("0.1"),
        "marks": {"007": Decimal(60), "b": Decimal("60.5"), "on": Decimal(10)},
        "waits": {"7": 3600.0},
        "tries": {"7": 3},
        "names": {"7": "key-1"},
        "level": {"x": "b2"},
    }
    shown = describe(config)["sources"]["eu"]["options"]
    assert (shown["share"], shown["marks"]) == (0.1, {"007": 60, "b": 60.5, "on": 10})
    assert yaml.safe_load(yaml.safe_dump(shown)) == shown
    assert read(_forms("forms: a")).sources["eu"].options["marks"] == {}


def test_an_options_list_takes_ids_written_as_numbers(read: Any) -> None:
    options = ", options: {quizzes: [12, abc, 007, 0x1F, 1_000, 12:30, -5, '08']}"
    read_as = ("12", "abc", "007", "0x1F", "1_000", "12:30", "-5", "08")
    assert read(SOURCES[:-2] + options + "}\n").sources["eu"].options["quizzes"] == read_as
    assert read(SOURCES[:-2] + ", options: {quizzes: 007}}\n").sources["eu"].options["quizzes"] == ("007",)


def test_a_part_may_be_shared_by_an_anchor(read: Any) -> None:
    text = HEAD + (
        "sources:\n  eu:\n    vendor: northwind\n"
        "    credentials: &both {api_key: '${KEY}', webhook_secret: '${HOOK_NEW}'}\n"
        "  us: {vendor: northwind, credentials: *both}\n"
    )
    config = read(text)
    assert config.sources["us"].credentials == config.sources["eu"].credentials


def test_the_demo_may_hold_literal_secrets_and_needs_no_public_address(read: Any) -> None:
    text = (
        "demo: true\nbridge: {name: acme}\n"
        "sources: {eu: {vendor: northwind, credentials: {api_key: literal, webhook_secret: literal}}}\n"
    )
    config = read(text)
    assert config.sources["eu"].credentials["api_key"] == ("literal",)
    assert config.bridge.public_url == "http://127.0.0.1:8080"


def test_every_problem_of_a_file_is_told_at_once_with_its_line(problems: Any) -> None:
    text = (
        "bridge:\n"
        "  name: acme\n"
        "  public_url: https://bridge.example.org\n"
        "sources:\n"
        "  eu:\n"
        "    vendor: northwind\n"
        "    credentials: {api_key: '${KEY}', webhook_secret: '${HOOK_NEW}'}\n"
        "    poll:\n"
        "      evry: 5m\n"
        "      overlap: 10 minutes\n"
        "  us:\n"
        "    vendor: nortwind\n"
    )
    assert problems(text) == [
        'bridge.yaml:9: sources.eu.poll.evry: unknown key. Did you mean "every"?',
        'bridge.yaml:10: sources.eu.poll.overlap: "10 minutes" is not a valid duration; write a number and a '
        "unit, such as 250ms, 5s, 10m, 2h or 7d",
        'bridge.yaml:12: sources.us.vendor: "nortwind" is not a vendor. Did you mean "northwind"? '
        "Known: asked, daily, forms, listed, listening, mixed, northwind, plain, polled",
    ]


def _bridge(more: str) -> str:
    return f"bridge: {{name: acme, public_url: https://bridge.example.org, {more}}}\n"


def _source(more: str) -> str:
    return SOURCES[:-2] + f", {more}}}\n"


def _subscription(fields: str) -> str:
    return SOURCES + f"subscriptions: {{one: {{{fields}}}}}\n"


def _http(more: str) -> str:
    return _subscription(f"transport: http, url: https://crm.example.org/x, secrets: ['${{WHSEC}}'], {more}")


def _https(secrets: str) -> str:
    return _subscription(f"transport: http, url: https://crm.example.org/x, secrets: {secrets}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no sections"),
        ("sources: {}\n", "bridge: missing"),
        ("bridge: [1\n", "not YAML"),
        ("bridge: {name: acme, name: acme, public_url: https://b.example.org}\n", "duplicate key, first in line 1"),
        ("bridge:\n  name: acme\n  name: b\n  public_url: https://b.example.org\n", "duplicate key, first in line 2"),
        ("bridge: {name: acme}\n", "public_url: missing"),
        ("bridge: {name: Acme Inc, public_url: https://b.example.org}\n", '"Acme Inc" is not a valid name'),
        ("bridge: {name: 5, public_url: https://b.example.org}\n", "must be text, not a number; put it in quotes"),
        ("bridge: {name: acme, public_url: https://b.example.org/}\n", "write https://b.example.org"),
        ("bridge: {name: acme, public_url: b.example.org}\n", "is not a valid web address"),
        ("bridge: {name: acme, public_url: 'https://b.example.org:x'}\n", "is not a valid address"),
        (_bridge("state: redis+cluster://a:x"), 'bridge.state: port "x" of server 1 is not a number'),
        (_bridge("state: redis+sentinel://a:6379"), "bridge.state: names no primary. Remedy: write it after the"),
        (_bridge("broker: 'redis://localhost/1?password=pw'"), "holds a literal password"),
        (_bridge("broker: redis://:pw@localhost/1"), "holds a literal password"),
        (_bridge("partitions: 65"), "must be a whole number from 1 to 64"),
        (_bridge("partitions: 0"), "must be a whole number from 1 to 64"),
        (_bridge("partitions: two"), "must be a whole number from 1 to 64"),
        (_bridge("durability: replica"), "must be a section of keys, not text"),
        (_bridge("durability: {ack: all}"), '"all" is not one of local, replica'),
        (_bridge("durability: {ack: replica, replica: 2}"), 'Did you mean "replicas"?'),
        (_bridge("durability: {replicas: 0}"), "must be a whole number from 1 to 16"),
        (_bridge("durability: {within: 3s}"), "3s is out of range; 10ms to 500ms is allowed"),
        (_bridge("retention: 30d"), "must be a section of keys, not text"),
        (_bridge("retention: {events: 30}"), '"30" is not a valid duration'),
        (_bridge("remember_attempts: 1h"), "out of range; 1d to 3650d"),
        (_bridge("remember_attempts: 5d") + SOURCES[len(HEAD) :], "not shorter than bridge.remember_attempts (5d)"),
        (HEAD + "sources: [eu]\n", "a section with a name"),
        (HEAD + "sources: {EU_1: {vendor: northwind}}\n", '"EU_1" is not a valid name'),
        (HEAD + "sources: {eu: }\n", "must be a section of keys, not nothing"),
        (HEAD + "sources: {eu: {}}\n", "sources.eu.vendor: missing"),
        (HEAD + "sources: {eu: {vendor: northwind}}\n", "credentials.api_key: missing: the key of the API"),
        (_source("pol: {}"), 'Did you mean "poll"?'),
        (_source("base_url: http://api.example.org"), "unencrypted; use https://"),
        (_source("base_url: HTTP://api.example.org"), "unencrypted; use https://"),
        (_source("poll: {enabled: 'yes'}"), "must be true or false"),
        (_source("poll: {look_back: 100d}"), "longer than the 90d that Northwind Exams can list"),
        (_source("poll: {look_back: 1d, overlap: 1d}"), "not shorter than look_back"),
        (_source("poll: {every: 10ms}"), "out of range; 1s to 7d"),
        (_source("poll: {enabled: false}, webhook: {enabled: false}"), "neither webhook nor poll"),
        (_source("webhook: {token: '${HOOK_NEW}'}"), "must be 22 or more"),
        (_source("webhook: {token: literal}"), "a secret must not be in this file"),
        (_source("budget: {calls: many}"), "must be a whole number"),
        (_source("budget: {per: 1d, resets: 13:30}"), '"810" is not a valid time of day; write it in quotes, in UTC'),
        (_source("budget: {per: 1d, resets: '24:00'}"), '"24:00" is not a valid time of day'),
        (_source("budget: {resets: '13:30'}"), "only a budget per 1d has a reset; this one is per 1h"),
        (_source("options: {format: yaml}"), '"yaml" is not one of json, xml'),
        (_source("options: {fromat: xml}"), 'Did you mean "format"?'),
        (_source("options: {confirm: 1.5}"), "must be true or false"),
        (_source("options: {depth: deep}"), "must be a whole number"),
        (_source("options: {reread: 14}"), '"14" is not a valid duration'),
        (_source("options: {quizzes: [on]}"), "quizzes[0]: must be text, not true or false"),
        (_source("options: {quizzes: [1.10]}"), "quizzes[0]: must be text, not a number; put it in quotes"),
        (_source("options: {quizzes: [{a: 1}]}"), "quizzes[0]: must be text, not a section"),
        (
            SOURCES.replace("northwind", "forms"),
            "sources.eu.options.forms: missing. Remedy: set it: the ids of the forms",
        ),
        (_forms(""), "sources.eu.options.forms: missing. Remedy: set it: the ids of the forms"),
        (_forms("forms: "), "options.forms: missing. Remedy: set it: the ids of the forms"),
        (_forms("forms: []"), "options.forms: is empty. Remedy: set it: the ids of the forms"),
        (
            _listed(""),
            "sources.eu.options.quizzes: is empty, so nothing is polled. Remedy: set it: the ids of the quizzes to "
            "read; or paused: true",
        ),
        (
            _source("webhook: {enabled: true}").replace("northwind", "listening"),
            "set it: the ids of the quizzes to read; or poll: {enabled: false}",
        ),
        (_forms("forms: a, share: much"), "options.share: must be a number such as 0.5, of at most 30 digits"),
        (_forms("forms: a, share: .nan"), "options.share: must be a number such as 0.5, of at most 30 digits"),
        (_forms("forms: a, share: true"), "of at most 30 digits, not true or false"),
        (_forms("forms: a, share: ''"), "options.share: is empty"),
        (_forms("forms: a, marks: [a]"), "marks: must be a section of keys, such as {id: value}, not a list"),
        (_forms("forms: a, marks: {a: much}"), "options.marks.a: must be a number such as 0.5"),
        (_forms("forms: a, marks: {a: }"), "options.marks.a: is empty"),
        (_forms("forms: a, marks: {a: 1, 'a': 2}"), "options.marks.a: duplicate key, first in line 3"),
        (_forms("forms: a, marks: {7: 1, '7': 2}"), "options.marks.7: duplicate key, first in line 3"),
        (_forms("forms: a, marks: {'': 1}"), "options.marks.: is empty"),
        (
            _forms("forms: a, marks: {a: {b: 1}}"),
            "options.marks.a: must be a number such as 0.5, of at most 30 digits, not",
        ),
        (_forms("forms: a, waits: {a: 14}"), 'options.waits.a: "14" is not a valid duration'),
        (_forms("forms: a, tries: {a: 1.5}"), "options.tries.a: must be a whole number"),
        (_forms("forms: a, names: {a: 7}"), "options.names.a: must be text, not a number; put it in quotes"),
        (_forms("forms: a, level: {a: c3}"), 'options.level.a: "c3" is not one of a1, b2'),
        (SOURCES.replace("${HOOK_NEW}", "literal"), "a secret must not be in this file"),
        (SOURCES.replace("${KEY}", "${NOT_SET}"), "environment variable NOT_SET is not set"),
        (SOURCES.replace("${KEY}", "${EMPTY}"), "environment variable EMPTY is empty"),
        (SOURCES.replace("${KEY}", "${KEY"), "starts no reference"),
        (SOURCES.replace("'${KEY}'", "{file: nowhere}"), "nowhere cannot be read: No such file"),
        (SOURCES.replace("'${KEY}'", "['${KEY}']"), "must be one value, not a list"),
        (SOURCES.replace("'${HOOK_NEW}'", "[]"), "is an empty list"),
        (SOURCES.replace("api_key", "api_kye"), 'no such credential. Did you mean "api_key"?'),
        (SOURCES.replace("northwind", "plain"), "Plain Tests does not sign its webhooks"),
        (
            SOURCES.replace("northwind", "polled")[:-2] + ", webhook: {enabled: true}}\n",
            "sources.eu.webhook.enabled: Polled Tests sends no webhooks. Remedy: remove webhook",
        ),
        (
            SOURCES.replace("northwind", "polled")[:-2] + ", webhook: {token: '${TOKEN}'}}\n",
            "sources.eu.webhook.token: Polled Tests sends no webhooks. Remedy: remove webhook",
        ),
        (
            SOURCES.replace("northwind", "polled")[:-2] + ", poll: {enabled: false}}\n",
            "neither webhook nor poll is enabled. Remedy: enable poll, or",
        ),
        (_subscription("transport: smtp"), '"smtp" is not one of celery, kombu, http, sql, kafka, notify'),
        (_subscription("task: x"), "transport: missing"),
        (_subscription("transport: celery, task: x"), "queue: missing: transport celery needs it"),
        (
            _subscription("transport: celery, task: x, queue: y, url: https://a.example.org"),
            "belongs to transport http",
        ),
        (_subscription("transport: celery, task: x, queue: y, headers: {X-A: b}"), "belongs to transport http"),
        (_subscription("transport: kombu, exchange: x"), "a Redis broker takes `queue` instead"),
        (_subscription("transport: kombu, exchange: x, broker: 'amqp://a;amqp://b'"), "names several servers"),
        (_subscription("transport: kombu, queue: x, broker: amqp://mq"), "exchange: missing"),
        (_subscription("transport: kombu, queue: x, broker: 'sqs://a'"), "not supported"),
        (_subscription("transport: kombu, queue: x, routing_key: '{tpye}'"), "{tpye} is not known"),
        (_subscription("transport: kombu, queue: x, routing_key: '{type'"), "is not a valid pattern"),
        (_subscription("transport: kombu, queue: x, routing_key: '{type:d}'"), "{type} takes no format"),
        (_subscription("transport: kombu, queue: x, routing_key: '{source!r}'"), "{source} takes no format"),
        (_subscription("transport: kombu, queue: x, routing_key: '{type:{source}}'"), "{type} takes no format"),
        (_subscription("transport: kombu, queue: x, routing_key: '{}'"), "{} is not known"),
        (_subscription("transport: kombu, queue: x, routing_key: '{0}'"), "{0} is not known"),
        (_subscription("transport: kombu, queue: x, routing_key: '{type.__class__}'"), "{type.__class__} is not known"),
        (
            _subscription(f"transport: kombu, queue: x, routing_key: '{'k' * 256}'"),
            "has 256 bytes. Remedy: at most 255",
        ),
        (
            _subscription(f"transport: kombu, queue: x, routing_key: '{'ü' * 117}{{type}}'"),
            "bytes. Remedy: at most 255",
        ),
        (_subscription(f"transport: kombu, queue: x, routing_key: '{'{type}' * 15}'"), "bytes. Remedy: at most 255"),
        (_subscription(f"transport: kombu, queue: {'q' * 256}"), "queue: has 256 bytes. Remedy: at most 255"),
        (_subscription(f"transport: kombu, exchange: {'ü' * 128}, broker: amqp://mq"), "exchange: has 256 bytes"),
        (_subscription(f"transport: celery, queue: q, task: {'t' * 256}"), "task: has 256 bytes"),
        (
            _subscription("transport: kombu, queue: x, broker: 'sentinel://mq:26379'"),
            "is not supported over sentinel://",
        ),
        (_bridge("broker: sentinel://a:1;sentinel://b:2"), "is not supported over sentinel://, which has no place"),
        (
            _bridge("broker: redis+cluster://a,b"),
            "is not supported over a Redis Cluster: kombu has no transport for it",
        ),
        (_bridge("broker: redis+sentinel://a,b"), "bridge.broker: names no primary. Remedy: write it after the"),
        (_subscription("transport: http, url: https://crm.example.org"), "secrets: missing"),
        (_subscription("transport: http, url: http://crm.example.org, secrets: ['${WHSEC}']"), "not encrypted"),
        (_subscription("transport: http, url: https://a.example.org, secrets: []"), "secrets: is empty"),
        (_subscription("transport: http, url: https://a.example.org, secrets: ['${TOKEN}']"), 'with "whsec_"'),
        (_http("filter: {types: [attempt.complete]}"), 'Did you mean "attempt.completed"?'),
        (_http("filter: {types: [source.polls_failing]}"), 'Did you mean "source.poll_failing"?'),
        (_http("filter: {types: ['sources.*']}"), 'Did you mean "source.*"?'),
        (_http("filter: {types: []}"), "types: is empty, so nothing would be delivered"),
        (_http("filter: {sources: [eu1]}"), '"eu1" is not a source. Did you mean "eu"?'),
        (_http("filter: {when: {pased: true}}"), 'Did you mean "passed"?'),
        (_http("filter: {when: {passed: 'true'}}"), "must be true, false or null"),
        (_http("filter: {when: {grading: done}}"), "is not one of final"),
        (_http("filter: {when: {score: [1]}}"), "must be one value, not a list"),
        (_http("filter: {when: {percentage: '<x'}}"), '"<x" is not a number. Write 50, <50'),
        (_http("filter: {when: {percentage: true}}"), 'must be a number, null or a comparison such as "<50"'),
        (_http("filter: {when: {flags: []}}"), "flags: is empty"),
        (_http("filter: {vendor: northwnd}"), '"northwnd" is not a vendor. Did you mean "northwind"?'),
        (_http("data: []"), "data: is empty"),
        (
            _http("data: [result.pased]"),
            'data[0]: "result.pased" is not a field below data. Did you mean "result.p',
        ),
        (_http("data: [sections.id]"), '"sections.id" is not a field below data. Known: sections'),
        (_http("data: [vendor.ids.]"), '"vendor.ids." ends with a dot'),
        (_http("data: [3]"), "data[0]: is not the name of a field below data"),
        (_http("retry: {schedule: []}"), "is empty"),
        (_http("retry: {schedule: [5s, 10]}"), 'schedule[1]: "10" is not a valid duration'),
        (_http("retry: {schedule: 5s}"), "must be a list such as"),
        (_http("retry: {jitter: 2}"), "must be a number from 0 to 1"),
        (_http("retry: {jitter: .nan}"), "must be a number from 0 to 1"),
        (_http("data: some"), '"some" is not one of full, minimal'),
        (
            HEAD + "access: {tokens: [{name: a, role: admin, sha256: x}]}\n",
            '"admin" is not one of viewer, operator, receiver',
        ),
        (HEAD + "access: {tokens: [{name: a, role: receiver, sha256: x}]}\n", "subscription: missing: role receiver"),
        (
            HEAD + "access: {tokens: [{name: a, role: viewer, subscription: crm, sha256: x}]}\n",
            "belongs to role receiver, not to viewer",
        ),
        (
            HEAD + "access: {tokens: [{name: a, role: receiver, subscription: crn, sha256: x}]}\n",
            '"crn" is not a subscription',
        ),
        (HEAD + "access: {tokens: [{name: a, role: viewer, sha256: x}]}\n", "is not a SHA-256"),
        (
            HEAD + "access:\n  tokens:\n" + 2 * f"    - {{name: a, role: viewer, sha256: {'0a' * 32}}}\n",
            "already another token's name",
        ),
        ("a: &a [*a]\n" + HEAD, "an alias names its own parent"),
        ("a: &a {b: [*a, *a, *a, *a]}\n" + HEAD, "an alias names its own parent"),
        ("a: " + "[" * 25 + "]" * 25 + "\n" + HEAD, "nested deeper than 20"),
        (_bridge("data_dir: 2026-99-99"), "cannot be read as a value"),
        (_bridge("data_dir: !!python/object:os.system x"), "not YAML"),
        (_bridge('data_dir: "a\\0b"'), "holds a NUL character, at character 2"),
        (SOURCES.replace("'${KEY}'", '{file: "\\0"}'), "holds a NUL character, at character 1"),
        (_subscription("transport: http, url: https://a.example.org, secrets: x"), 'a list such as ["${ENV_NAME}"]'),
    ],
)
def test_a_mistake_gets_a_line_that_names_it(problems: Any, text: str, said: str) -> None:
    assert any(said in problem for problem in problems(text)), problems(text)


def _bomb(first: str, item: str, wrap: str) -> str:
    """Nine levels of nine aliases each: a kilobyte that stands for 400 million values."""
    levels = [f"a0: &a0 {first}"]
    for level in range(1, 10):
        levels.append(f"a{level}: &a{level} {wrap.format(', '.join([item.format(level - 1)] * 9))}")
    return "\n".join(levels) + "\n" + HEAD


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        _bomb("[x]", "*a{}", "[{}]"),
        _bomb("{k: x}", "*a{}", "{{<<: [{}]}}"),
    ],
    ids=["aliases", "merged aliases"],
)
def test_a_file_that_stands_for_too_many_values_is_refused(problems: Any, text: str) -> None:
    (problem,) = problems(text)
    assert "holds more than 50000 values, each alias counted as what it names" in problem


def test_a_subscription_gets_results_unless_it_names_more(read: Any) -> None:
    types = read(_http("data: full")).subscriptions
    (event_type,) = types.values()
    assert event_type.filter.types == ATTEMPT_TYPES
    for listed in (
        "[attempt.overdue]",
        '["source.*", "attempt.*"]',
        '["*"]',
        "[consent.withdrawn, source.poll_failing]",
    ):
        (event_type,) = read(_http(f"filter: {{types: {listed}}}")).subscriptions.values()
        assert [f'"{kind}"' if "*" in kind else kind for kind in event_type.filter.types] == listed.strip("[]").split(
            ", "
        )


@pytest.mark.parametrize("kind", [*ATTEMPT_TYPES, *NOTICE_TYPES])
def test_every_type_of_event_can_be_asked_for(read: Any, kind: str) -> None:
    (subscription,) = read(_http(f"filter: {{types: [{kind}]}}")).subscriptions.values()
    assert subscription.filter.takes_header(kind, "eu")


JUNK = (
    "[]",
    "{}",
    "5",
    "null",
    "true",
    "[1, {a: b}]",
    "{file: 5}",
    "*a",
    "? x",
    "{[a]: b}",
    "{<<: 5}",
    ".inf",
    "\t",
    "- -",
)


@pytest.mark.long
def test_a_mutilated_file_gets_problems_and_never_another_error(read: Any) -> None:
    draw = random.Random(7)
    example = (Path(__file__).parents[2] / "bridge.example.yaml").read_text().replace("classmarker", "northwind")
    lines = [line for line in example.splitlines() if line.strip() and not line.strip().startswith("#")]
    for _ in range(300):
        mutilated = list(lines)
        for place in draw.sample(range(len(lines)), 2):
            mutilated[place] = draw.choice(
                [f"{mutilated[place].split(':')[0]}: {draw.choice(JUNK)}", "", f"  {mutilated[place]}", mutilated[0]]
            )
        with pytest.raises(ConfigError) as caught:
            read("\n".join(mutilated))
        assert all(problem.count("\n") == 0 for problem in caught.value.problems)


def test_a_broker_that_is_not_known_yet_raises_no_second_problem(problems: Any) -> None:
    text = SOURCES + "subscriptions: {w: {transport: kombu, exchange: attempts, broker: '${MISSING}'}}\n"
    (problem,) = problems(text)
    assert "environment variable MISSING is not set" in problem


@pytest.mark.parametrize(
    "text",
    [
        "subscriptions: {w: {transport: kombu, exchange: attempts, broker: 'amqp://me:canary@mq/'}}",
        "subscriptions: {w: {transport: kombu, queue: attempts, broker: 'redis://:canary@mq/1'}}",
        "subscriptions: {w: {transport: kombu, exchange: attempts, broker: 'amqp://mq:99999/'}}",
        "subscriptions: {w: {transport: kombu, exchange: attempts, broker: 5}}",
    ],
)
def test_a_broker_whose_address_is_refused_raises_no_second_problem(problems: Any, text: str) -> None:
    (problem,) = problems(f"{SOURCES}{text}\n")
    assert "subscriptions.w.broker: " in problem
    in_bridge = _bridge("broker: 'amqp://me:canary@mq/'") + SOURCES[len(HEAD) :]
    (problem,) = problems(f"{in_bridge}subscriptions: {{w: {{transport: kombu, exchange: attempts}}}}\n")
    assert "bridge.broker: holds a literal password" in problem


def test_no_secret_stands_in_a_problem(problems: Any) -> None:
    text = (
        SOURCES.replace("${HOOK_NEW}", "literal-canary")
        + "subscriptions: {a: {transport: celery, task: t, queue: q, broker: 'redis://:literal-canary@localhost'}}\n"
    )
    assert "canary" not in "\n".join(problems(text))


def test_a_broken_reference_is_told_once_and_not_again_as_a_wrong_value(problems: Any) -> None:
    result = problems(_subscription("transport: http, url: https://a.example.org, secrets: ['${NOT_SET}']"))
    assert len(result) == 1
    assert "NOT_SET is not set" in result[0]


def test_problems_stand_at_the_place_in_the_list_where_they_are(problems: Any) -> None:
    result = problems(
        _subscription("transport: http, url: https://a.example.org, secrets: [lit, '${WHSEC}', '${KEY}']")
    )
    assert [problem.split(": ")[1] for problem in result] == [
        "subscriptions.one.secrets[0]",
        "subscriptions.one.secrets[2]",
    ]


def test_a_secret_may_expire_and_the_time_may_be_written_in_several_ways(read: Any) -> None:
    for written in ("2026-12-31T00:00:00Z", "'2026-12-31T01:00:00+01:00'", "2026-12-31", "'2026-12-31 00:00'"):
        text = _https(f"['${{WHSEC}}', {{secret: '${{OTHER}}', expires: {written}}}]")
        (new, old) = read(text).subscriptions["one"].secrets
        assert (new.value, new.expires, old.value, old.expires) == (WHSEC, None, OTHER, 1_798_675_200.0)
    shown = describe(read(text))["subscriptions"]["one"]["secrets"]
    assert shown == [f"****{WHSEC[-4:]}", {"secret": f"****{OTHER[-4:]}", "expires": "2026-12-31T00:00:00Z"}]


def test_a_private_key_is_shown_by_its_public_key(read: Any) -> None:
    config = read(_https("[{secret: '${PRIVATE}', expires: 2026-12-31}, '${WHSEC}']"))
    shown = describe(config)["subscriptions"]["one"]["secrets"][0]
    assert shown == {
        "secret": f"****{PRIVATE[-4:]}",
        "public_key": public_key_of(PRIVATE),
        "expires": "2026-12-31T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ("[{secret: '${WHSEC}', expires: soon}]", 'secrets[0].expires: "soon" is not a date or time. Remedy: write'),
        ("[{secret: '${WHSEC}', expires: '2026-02-30'}]", '"2026-02-30" is not a date or time'),
        (
            "[{secret: '${WHSEC}', expires: 1798675200}]",
            "must be a date or time, not a number. Remedy: write it in UTC",
        ),
        ("[{secret: '${WHSEC}', expires: '0226-12-31'}]", '"0226-12-31" is not in the years 2000 to 2099'),
        ("[{secret: '${WHSEC}', expires: '${TOKEN}'}]", "secrets[0].expires: its value is not a date or time"),
        ("[{expires: 2026-12-31}]", "secrets[0].secret: missing"),
        ("[{secret: '${WHSEC}', expire: 2026-12-31}]", 'Did you mean "expires"?'),
        ("['${WHSEC}', null]", "secrets[1]: is empty. Remedy: attempt-bridge"),
        ("[{secret: literal}]", "secrets[0].secret: a secret must not be in this file"),
        ("['${WHSEC}', {secret: '${WHSEC}', expires: 2026-12-31}]", "secrets[1]: is the same secret as secrets[0]"),
        ("['${PRIVATE}', '${SEED}']", "secrets[1]: is the same secret as secrets[0]"),
        (
            "['${PUBLIC}']",
            "secrets[0]: is a public key, which cannot sign; the private key starts with whsk_. Remedy: ",
        ),
        (f"[{', '.join(['x'] * 11)}]", "secrets: has 11 secrets. Remedy: at most 10"),
    ],
)
def test_a_wrong_secret_of_a_subscription_is_one_line(problems: Any, secrets: str, said: str) -> None:
    (problem,) = problems(_https(secrets))
    assert said in problem
    assert TOKEN not in problem


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="attempt-bridge config init"):
        loader.read(tmp_path / "bridge.yaml", vendors=VENDORS, environment={})


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_bytes(b"bridge: \xff")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 8"):
        loader.read(tmp_path / "bridge.yaml", vendors=VENDORS, environment={})


def test_what_is_shown_has_the_words_of_the_file_and_masked_secrets(read: Any) -> None:
    text = _subscription("transport: celery, task: t, queue: q, broker: 'redis://:${TOKEN}@mq.example.org/1'")
    described = describe(read(text))
    assert described["sources"]["eu"]["poll"]["every"] == "5m"
    assert described["sources"]["eu"]["credentials"] == {"api_key": ["****"], "webhook_secret": ["****"]}
    assert described["subscriptions"]["one"]["broker"] == "redis://:****@mq.example.org/1"
    assert described["subscriptions"]["one"]["retry"]["schedule"][:2] == ["5s", "5m"]
    assert TOKEN not in str(described)


def test_the_end_of_a_long_secret_tells_which_one_it_is(read: Any) -> None:
    described = describe(read(_http("data: full")))
    assert described["subscriptions"]["one"]["secrets"] == [f"****{WHSEC[-4:]}"]


@pytest.mark.parametrize(
    ("events", "subscription", "problem"),
    [
        ("1m", "", "1m is shorter than the tries of subscription crm, which can take 34h"),
        ("30d", "retry: {schedule: [7d, 7d, 7d, 7d, 7d]}", "30d is shorter than the tries of subscription crm"),
        ("10d", "retry: {schedule: [7d]}, receipts: {required: true, within: 7d}", None),
        ("8d", "retry: {schedule: [1d, 1d], jitter: 0}, receipts: {required: true, within: 5d}", "which can take 10d"),
        ("2d", "", None),
    ],
)
def test_events_are_kept_longer_than_the_tries_of_a_delivery(
    read: Any, events: str, subscription: str, problem: str | None
) -> None:
    transport = "transport: celery, task: t, queue: q"
    text = (
        f"bridge: {{name: acme, public_url: https://bridge.example.org, retention: {{events: {events}}}}}\n"
        f"subscriptions: {{crm: {{{transport}, {subscription}}}}}\n"
    )
    if problem is None:
        assert read(text).subscriptions["crm"].name == "crm"
        return
    with pytest.raises(ConfigError) as caught:
        read(text)
    (line,) = caught.value.problems
    assert problem in line
    assert ": bridge.retention.events: " in line
    assert "Remedy: write" in line


def test_filters_with_comparisons_and_lists_of_fields_are_read_and_described_as_written(read: Any) -> None:
    wanted = (
        "filter: {vendor: north*, when: {percentage: '<50', flags: [late, 'id-*']}}, data: [result.passed, vendor.ids]"
    )
    text = SOURCES + f"subscriptions: {{crm: {{transport: celery, task: t, queue: q, {wanted}}}}}\n"
    config = read(text)
    subscription = config.subscriptions["crm"]
    assert subscription.filter.vendor == ("north*",)
    assert subscription.filter.when == {"percentage": NumberRange(None, 50.0, True), "flags": ("late", "id-*")}
    assert subscription.data == ("result.passed", "vendor.ids")
    described = describe(config)["subscriptions"]["crm"]
    assert described["filter"]["when"]["percentage"] == "<50"
    assert described["data"] == ["result.passed", "vendor.ids"]
