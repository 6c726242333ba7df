"""The documents name files, commands, options, keys and metrics that exist, and these are all there; examples work."""

from __future__ import annotations

import csv
import inspect
import json
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click
import pytest
import redis
import yaml
from nacl.exceptions import BadSignatureError
from prometheus_client import CollectorRegistry

from bridge import registry, watch_registration
from bridge.cli import COMMANDS, cli
from bridge.cli.vendor_report import GUIDE, SECTIONS
from bridge.config import loader, queues
from bridge.config.example import needed_names
from bridge.delivery.receipts import Receipt
from bridge.monitoring.alarms import RAISED, RECOVERED
from bridge.monitoring.metrics import web_metrics
from bridge.monitoring.state_collector import StateCollector
from bridge.net.standard_webhooks import Signer, SigningSecret, new_ed25519_secret, public_key_of
from bridge.services import Services
from bridge.settings import Settings
from bridge.state import keys
from bridge.web.api.watch_shapes import NewWatch
from schemas.notices import ALARM_TYPES, NOTICE_TYPES
from tests.support.clients import clients_over
from tests.support.contract import capabilities
from workers.inbound.messages import read_receipt_entry

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "docs", "examples", "client")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
OPERATIONS = (ROOT / "docs/operations.md").read_text()
SUBSCRIBING = (ROOT / "docs/subscribing.md").read_text()
VENDORS = (ROOT / "docs/vendors.md").read_text()
#: A variable of the environment: where it is used, or in .env.example.
NAMED = re.compile(r"\$\{([A-Z_]+)\}|^#?([A-Z_]+)=", re.M)
#: 2026-11-21, when the examples were written.
WRITTEN = 1_795_219_200.0
#: Options that the guide explains once for all commands.
COMMON = {"--watch", "--output", "--json", "--limit", "--yes", "--help"}
#: What a vendor folder may import, which is less than what stands below it.
FOR_VENDOR_FOLDERS = ("sdk", "net.signatures", "net.retry_after", "errors", "schemas")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_into_a_document_lead_to_a_heading(document: Path) -> None:
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text()):
        there = (document.parent / target if target else document).read_text()
        assert heading in _anchors(there), f"{document.name}: {target}#{heading}"


def test_sections_that_code_and_tests_name_are_there() -> None:
    """The contract suites say by them what to do about a failed or skipped test."""
    named = {
        (name, anchor)
        for place in ("bridge", "workers", "tests")
        for path in (ROOT / place).rglob("*.py")
        for name, anchor in re.findall(r"(docs/[\w-]+\.md)#([a-z0-9-]+)", path.read_text())
    }
    named |= {(GUIDE, anchor) for anchor in (*SECTIONS.values(), *capabilities._SECTIONS.values(), "contract")}
    assert (GUIDE, "grading") in named
    missing = [f"{name}#{anchor}" for name, anchor in named if anchor not in _anchors((ROOT / name).read_text())]
    assert sorted(missing) == []


def test_everything_that_a_contract_test_may_need_is_in_the_guide_for_authors() -> None:
    guide = (ROOT / GUIDE).read_text().partition("\n## Fernhill")[0]
    assert [name for name in capabilities._SECTIONS if f"`{name}" not in guide] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_are_there(document: Path) -> None:
    named = re.findall(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|lua|md|yaml|yml|toml|json))`", document.read_text())
    assert [name for name in named if not (ROOT / name).exists() and "<" not in name] == []


def test_commands_that_are_named_are_there() -> None:
    """Also in remedies: those of the code and of the alerts."""
    deployed = (path for path in ROOT.glob("deploy/**/*") if path.is_file())
    files = [*DOCUMENTS, *deployed, *ROOT.glob("bridge/**/*.py"), *ROOT.glob("workers/**/*.py")]
    for file in files:
        for first, second in re.findall(r"[`/:] ?attempt-bridge ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", file.read_text()):
            command = cli.get_command(click.Context(cli), first)
            assert command is not None, f"{file}: {first}"
            if isinstance(command, click.Group) and second:
                assert second in command.commands, f"{file}: {first} {second}"


def test_every_command_below_a_noun_is_in_the_operations_guide() -> None:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        for below in command.commands if isinstance(command, click.Group) else ():
            assert re.search(rf"`(?:{name} )?{below}\b", _rows(name)), f"{name} {below}"


def test_every_option_is_in_the_row_of_its_command_and_no_other_is() -> None:
    """By the noun: a row holds several commands."""
    known: dict[str, set[str]] = defaultdict(set)
    for path, command in _commands():
        for option in (option for option in command.params if isinstance(option, click.Option)):
            known[path[0]] |= {name for name in option.opts if name.startswith("--")}
    for name in COMMANDS:
        told = set(re.findall(r"`(--[a-z-]+)", _rows(name)))
        assert known[name] - COMMON - told == set(), name
        assert told - known[name] == set(), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_options_in_examples_are_those_of_their_command(document: Path) -> None:
    for line in document.read_text().replace("\\\n", " ").splitlines():
        for words in re.findall(r"attempt-bridge ((?:[a-z-]+ ?)+[^`|;#]*)|scripts/(demo [^`|;#]*)", line):
            first, *rest = (words[0] or words[1]).split()
            command = cli.get_command(click.Context(cli), first)
            wanted = {word for word in rest if word.startswith("--")}
            options = {
                name for path, command in _commands() if path[0] == first for p in command.params for name in p.opts
            }
            assert command is None or wanted - options - COMMON == set(), f"{document.name}: {first} {rest}"


def test_both_tables_of_packages_are_the_same() -> None:
    assert _package_rows("CONTRIBUTING.md") == _package_rows("docs/architecture.md")


def test_every_package_is_in_the_table_and_every_row_is_a_package() -> None:
    assert {package for package, _, _ in _package_rows("docs/architecture.md")} == _packages_on_disk() | {"schemas/"}


def test_the_table_of_packages_has_the_order_of_the_layers_and_what_each_may_import() -> None:
    written = [(package, imports) for package, _, imports in _package_rows("docs/architecture.md")]
    assert written == list(_packages_by_layers().items())


def test_what_a_vendor_folder_may_import_is_what_its_contract_leaves() -> None:
    (rule,) = (contract for contract in _contracts("forbidden") if contract["source_modules"] == ["bridge.vendors"])
    layers = _layers("bridge")
    below = {name for layer in layers[layers.index(["vendors"]) + 1 :] for name in layer}
    net = {f"net.{path.stem}" for path in (ROOT / "bridge/net").glob("*.py") if path.stem != "__init__"}
    left = (below - {"net"} | net) - {name.removeprefix("bridge.") for name in rule["forbidden_modules"]}
    assert left | {"schemas"} == set(FOR_VENDOR_FOLDERS)


def test_every_key_is_in_the_architecture() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    for name in keys.__all__:
        if name.islower():
            assert _pattern(getattr(keys, name)) in text, name


def test_every_key_has_a_line_that_says_what_an_erasure_does_with_it() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    table = text.partition("## What an erasure does with each key\n")[2].partition("\n## ")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    for name in keys.__all__:
        if name.islower():
            assert sum(_pattern(getattr(keys, name)) in cell for cell in cells) == 1, name


def test_every_type_of_event_is_told_to_subscribers_and_every_alarm_has_a_way_out() -> None:
    for kind in NOTICE_TYPES:
        assert re.search(rf"^\|.*`{kind}`.*\|", SUBSCRIBING, re.M), kind
        assert f"`{kind}`" in OPERATIONS
    for kind in ALARM_TYPES:
        assert f"\n**`{kind}`.**" in OPERATIONS


def test_every_metric_is_in_the_operations_guide_and_no_other_is(services: Services) -> None:
    numbers = CollectorRegistry()
    numbers.register(StateCollector(services))
    result = {
        metric.name: metric.type for registry in (numbers, web_metrics().registry) for metric in registry.collect()
    }
    names = {f"{name}_total" if kind == "counter" else name for name, kind in result.items()}
    assert set(re.findall(r"`(bridge_\w+)`", OPERATIONS)) == names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_log_events_that_are_named_are_logged(document: Path) -> None:
    logged = re.compile(r"\.(?:debug|info|warning|error|critical)\(\s*\"([a-z_]+)\"")
    sources = [path for package in ("bridge", "workers") for path in (ROOT / package).rglob("*.py")]
    events = {name for path in sources for name in logged.findall(path.read_text())}
    events |= {f"alarm_{RAISED}", f"alarm_{RECOVERED}"}  # the one name that is put together
    event = r"`([a-z]+(?:_[a-z]+)+)`"
    text = re.sub(r"\s+", " ", document.read_text())
    named = re.findall(rf"\blog(?:s|ged)?\b[^.`|]{{0,60}}{event}", text) + re.findall(rf"{event} in the log", text)
    assert set(named) <= events


def test_no_alert_calls_a_stream_stale_that_is_read_seldom_on_purpose() -> None:
    alerts = yaml.safe_load((ROOT / "deploy/prometheus-alerts.yaml").read_text())["groups"][0]["rules"]
    (stale,) = (alert["expr"] for alert in alerts if alert["alert"] == "BridgePollStale")
    left_out, seconds = re.fullmatch(r'.*\{stream!~"(.+)"\} > (\d+)', stale).groups()
    for vendor in registry.vendors().values():
        for stream, poll in vendor.polls.items():
            assert ((poll.every or 0.0) >= float(seconds)) == bool(re.fullmatch(left_out, stream)), stream


# Examples -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    """A bridge with the sources of docs/vendors.md and the subscriptions of the example file."""
    example = yaml.safe_load((ROOT / "bridge.example.yaml").read_text())
    blocks = re.findall(r"```yaml\n(sources:\n.+?)```", VENDORS, re.S)
    example["sources"] = {name: source for block in blocks for name, source in yaml.safe_load(block)["sources"].items()}
    (tmp_path / "bridge.yaml").write_text(yaml.safe_dump(example))
    names = {
        name
        for text in (*blocks, (ROOT / ".env.example").read_text())
        for name in filter(None, chain(*NAMED.findall(text)))
    }
    environment = dict.fromkeys(names, "an-invented-value-of-thirty-letters")
    environment |= {"WAREHOUSE_BROKER": "amqp://mq.example.test", "CRM_WEBHOOK_SECRET": f"whsec_{'QUFB' * 10}"}
    vendors = registry.vendors()
    config = loader.read(tmp_path / "bridge.yaml", vendors=vendors, environment=environment)
    return Services(
        settings=Settings(),
        config=config,
        vendors=vendors,
        state_url="redis://unused.invalid",
        broker_url="unused",
        clients=clients_over(state),
    )


def test_every_vendor_has_an_example_of_a_source_that_is_accepted(services: Services) -> None:
    """Remedy: scripts/docs writes one for a vendor that has none."""
    folders = {name for name in registry.vendors() if registry.package(name).startswith("bridge.vendors.")}
    assert {source.vendor for source in services.config.sources.values()} == folders


def test_the_secrets_of_the_example_file_are_in_the_example_environment() -> None:
    given = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    wanted = set(needed_names((ROOT / "bridge.example.yaml").read_text()))
    assert {"CM_API_KEY", "CRM_WEBHOOK_SECRET"} <= wanted <= given


def test_the_watch_in_the_guide_is_accepted_and_becomes_what_stands_below_it(services: Services) -> None:
    (sent,) = re.findall(r"-d '(.+?)'", OPERATIONS, re.S)
    (answer,) = (json.loads(block) for block in _blocks("json") if '"next_look"' in block)
    document = NewWatch().load(json.loads(sent))
    assert watch_registration.register(services, [document], now=WRITTEN) == [answer]


def test_the_csv_in_the_guide_is_accepted(services: Services) -> None:
    (table,) = _blocks("csv")
    rows = list(csv.DictReader(table.splitlines()))
    ours = ("due", "deadline", "label")
    reference = [{name: value for name, value in row.items() if name not in ours} for row in rows]
    documents = [
        NewWatch().load({"source": "exams", "reference": named, **{name: row[name] for name in ours}})
        for named, row in zip(reference, rows, strict=True)
    ]
    made = watch_registration.register(services, documents, now=WRITTEN)
    assert [row["label"] for row in made] == ["order-4711", "order-4712"]


def test_the_receipt_in_the_guide_is_one_as_a_task_and_as_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines run as they stand, over kombu's broker in memory."""
    (lines,) = (block for block in re.findall(r"```python\n(.+?)```", SUBSCRIBING, re.S) if "bridge.receipt" in block)
    (plain,) = (block for block in re.findall(r"```json\n(.+?)```", SUBSCRIBING, re.S) if '"event_id"' in block)
    monkeypatch.setenv("BRIDGE_BROKER", "memory://")
    event = {"id": json.loads(plain)["event_id"]}
    there: dict[str, Any] = {}
    exec(compile(lines, "docs/subscribing.md", "exec"), there)
    there["confirm"](event)
    with there["bridge"].connection_for_read() as connection:
        raw = connection.default_channel._get(queues.RECEIPTS)
    wanted = Receipt("gradebook", event["id"])
    assert read_receipt_entry(json.dumps(raw).encode(), {"gradebook"}) == wanted
    assert read_receipt_entry(plain.strip().encode(), {"gradebook"}) == wanted


def test_the_lines_in_the_guide_verify_what_is_signed_with_a_private_key_and_refuse_anything_else() -> None:
    (lines,) = (block for block in re.findall(r"```python\n(.+?)```", SUBSCRIBING, re.S) if "VerifyKey" in block)
    there: dict[str, Any] = {}
    exec(compile(lines, "docs/subscribing.md", "exec"), there)
    new, old = (SigningSecret(new_ed25519_secret(bytes([seed]) * 32)) for seed in (1, 2))
    headers = Signer([new, old]).headers("e-1", b"{}", 1000.0)
    for secret in (new, old):
        assert there["verify"](public_key_of(secret.value), headers, b"{}", 1299.0) is None
    stranger = public_key_of(new_ed25519_secret(bytes([3]) * 32))
    for wrong in ((stranger, headers, b"{}", 1000.0), (public_key_of(new.value), headers, b"{ }", 1000.0)):
        with pytest.raises(BadSignatureError, match="no signature of this key"):
            there["verify"](*wrong)
    with pytest.raises(BadSignatureError, match="too old"):
        there["verify"](public_key_of(new.value), headers, b"{}", 1301.0)


def test_every_snippet_of_python_compiles() -> None:
    for document in DOCUMENTS:
        for number, block in enumerate(re.findall(r"```python\n(.+?)```", document.read_text(), re.S)):
            compile(block, f"{document.name}:{number}", "exec")


def _package_rows(document: str) -> list[tuple[str, str, str]]:
    """The rows under "Where things are": package, description, what it may import."""
    text = (ROOT / document).read_text().partition("## Where things are\n")[2].partition("\n#")[0]
    return re.findall(r"^\| `([^`]+)` \| (.+) \| (.+) \|$", text, re.M)


def _packages_on_disk() -> set[str]:
    paths = [path for package in ("bridge", "workers") for path in (ROOT / package).iterdir()]
    folders = {f"{path.relative_to(ROOT).as_posix()}/" for path in paths if (path / "__init__.py").is_file()}
    modules = {path.relative_to(ROOT).as_posix() for path in paths if path.suffix == ".py"}
    return folders | modules - {"bridge/__init__.py", "workers/__init__.py"}


def _contracts(kind: str) -> list[dict[str, Any]]:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return [rule for rule in rules if rule["type"] == kind]


def _layers(package: str) -> list[list[str]]:
    """The packages of each layer, top to bottom."""
    (rule,) = (contract for contract in _contracts("layers") if contract.get("containers") == [package])
    assert rule["exhaustive"]
    return [re.split(r" [|:] ", layer) for layer in rule["layers"]]


def _packages_by_layers() -> dict[str, str]:
    """Package, as the table writes it -> what it may import, top to bottom, from the layers in pyproject.toml."""
    (across,) = (contract["layers"] for contract in _contracts("layers") if "containers" not in contract)
    assert across[:2] == ["bridge.cli", "workers"]
    below_workers = [name.removeprefix("bridge.") for name in across[2].split(" | ")]
    workers = _rows_of("workers", _layers("workers"), below_workers)
    rows: dict[str, str] = {}
    for package, imports in _rows_of("bridge", _layers("bridge"), ["schemas"]).items():
        rows[package] = imports
        if package == "bridge/cli/":
            rows[package] = f"`workers`, {imports}"
            rows |= workers
    rows["bridge/vendors/"] = ", ".join(f"`{name}`" for name in FOR_VENDOR_FOLDERS)
    return rows | {"schemas/": "nothing"}


def _rows_of(package: str, layers: list[list[str]], below: list[str]) -> dict[str, str]:
    prefix = "" if package == "bridge" else f"{package}."
    following = [[prefix + name for name in layer] for layer in layers[1:]] + [below]
    rows = {}
    for layer, names in zip(layers, following, strict=True):
        imports = ", ".join(f"`{name}`" for name in names) + (" and below" if names != ["schemas"] else "")
        for name in layer:
            path = ROOT / package / name
            rows[f"{package}/{name}/" if path.is_dir() else f"{package}/{name}.py"] = imports
    return rows


def _anchors(text: str) -> list[str]:
    """What a link to a heading ends in."""
    return [re.sub(r"[^\w\- ]", "", line).lower().replace(" ", "-") for line in _headings(text)]


def _headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", text, re.M)


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.+?)```", OPERATIONS, re.S)


def _rows(name: str) -> str:
    """The rows of the guide's table of commands that begin with this one, or name it beside another."""
    table = OPERATIONS[OPERATIONS.index("| command |") : OPERATIONS.index("| exit code |")].splitlines()
    return "\n".join(line for line in table if re.search(rf"`{name}[ `]", line.split("|")[1] if line else ""))


def _commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    def below(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield path, command
        for name, subcommand in getattr(command, "commands", {}).items():
            yield from below(subcommand, (*path, name))

    for name in COMMANDS:
        yield from below(cli.get_command(click.Context(cli), name), (name,))


def _pattern(key: Callable[..., str]) -> str:
    """The key as the document writes it."""
    needed = [
        parameter.name
        for parameter in inspect.signature(key).parameters.values()
        if parameter.default is parameter.empty
    ]
    pattern = key(*(0 if name == "partition" else f"<{name}>" for name in needed))
    return f"`{pattern.replace('{0}', '{p}').replace('{<source>}', '{source}')}`"


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_the_page_of_the_examples_names_what_each_needs_and_bindings_are_valid(example: Path) -> None:
    text = example.read_text()
    modules = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)) - sys.stdlib_module_names
    (row,) = [line for line in (ROOT / "examples/README.md").read_text().splitlines() if f"`{example.name}`" in line]
    # werkzeug comes with flask.
    needed = set(re.findall(r"`(\w+)(?:\[\w+\])?`", row.split("|")[3]))
    assert needed == modules - {"werkzeug"}
    assert ("redis" not in text) or "redis" in row.split("|")[3] or "stream" in example.name
    for key in re.findall(r"attempt\.[\w.*#-]*[*#][\w.*#-]*", text):
        assert all(word in ("*", "#") or not set(word) & set("*#") for word in key.split(".")), key
