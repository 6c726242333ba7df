"""House rules that no linter knows, checked over the source text. Who may import whom is in pyproject.toml."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for name in ("bridge", "workers", "schemas") for path in (ROOT / name).rglob("*.py"))
SCRIPTS = sorted(path for name in ("bridge", "workers") for path in (ROOT / name).rglob("*.lua"))

#: The one module that reads the clock, and one that runs without the rest of the bridge.
CLOCK_READERS = {"bridge/clock.py", "bridge/runtime/reaper.py"}
ENVIRONMENT_READERS = {"bridge/settings.py"}
#: What asks for the moment. A thread's `perf_counter` for metrics is a clock too.
CLOCK = re.compile(
    r"time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|gmtime|localtime)"
    r"|(datetime\.)?(datetime|date)\.(now|utcnow|today)"
)
ENVIRONMENT = re.compile(r"os\.(environ|environb|getenv|putenv)(\..*)?")
#: Names of variables that do not say what they hold.
EMPTY_NAMES = ("found", "one")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def uses(pattern: re.Pattern[str], tree: ast.Module) -> list[tuple[int, str]]:
    """Lines and dotted names in the code that the pattern fits, also where they were imported one by one."""
    results = []
    for node in nodes_of(tree):
        if isinstance(node, ast.Attribute):
            results.append((node.lineno, dotted(node)))
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            results += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return [(line, name) for line, name in results if pattern.fullmatch(name)]


def dotted(node: ast.expr) -> str:
    """`a.b.c` as it is written; "" in the place of what is more than a name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def outside(allowed: Collection[str], lines: Callable[[ast.Module], Iterable[int]]) -> list[str]:
    """`file:line` of every offence in a module that is not one of `allowed`."""
    return [
        f"{name}:{line}"
        for name, tree in trees().items()
        if not name.startswith(tuple(allowed))
        for line in lines(tree)
    ]


def variables(tree: ast.Module) -> list[tuple[int, str]]:
    """Lines and names of variables and parameters. Members of classes are left out: stored data has their names."""
    members = {
        target
        for node in nodes_of(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        for target in ast.iter_child_nodes(statement)
    }
    names = [node for node in nodes_of(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    parameters = [node for node in nodes_of(tree) if isinstance(node, ast.arg)]
    return [
        *((name.lineno, name.id) for name in names if name not in members),
        *((parameter.lineno, parameter.arg) for parameter in parameters),
    ]


@cache
def nodes_of(tree: ast.Module) -> list[ast.AST]:
    return list(ast.walk(tree))


@cache
def trees() -> dict[str, ast.Module]:
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import time\ntime.time()", ["time.time"]),
        ("from time import monotonic", ["time.monotonic"]),
        ("from datetime import datetime\ndatetime.now(UTC)", ["datetime.now"]),
        ("import datetime\ndatetime.date.today()", ["datetime.date.today"]),
        ("import time\ntime.sleep(1)\nclock.now()\nrow.time.hour", []),
    ],
)
def test_the_clock_is_found_under_every_name(source: str, names: list[str]) -> None:
    assert [name for _, name in uses(CLOCK, ast.parse(source))] == names


@pytest.mark.parametrize("source", ["os.environ['A']", "os.environ.get('A')", "from os import getenv"])
def test_the_environment_is_found_under_every_name(source: str) -> None:
    assert uses(ENVIRONMENT, ast.parse(source))


def test_only_the_clock_module_reads_the_clock() -> None:
    assert outside(CLOCK_READERS, lambda tree: [line for line, _ in uses(CLOCK, tree)]) == []


def test_only_the_settings_module_reads_the_environment() -> None:
    assert outside(ENVIRONMENT_READERS, lambda tree: [line for line, _ in uses(ENVIRONMENT, tree)]) == []


def test_only_the_journal_appends_to_streams() -> None:
    # A bare append may be repeated by the client or be lost after the memory was written: it belongs into a script.
    def appends(tree: ast.Module) -> list[int]:
        return [node.lineno for node in nodes_of(tree) if isinstance(node, ast.Attribute) and node.attr == "xadd"]

    assert outside(["bridge/journal/"], appends) == []


def test_only_these_scripts_append_to_streams() -> None:
    # The journal and the requests; what we could not read; dead letters and settled deliveries; changes; and copies of
    # dead letters and changes without what mentions a person who is erased. Tries for those who watch name nobody.
    appending = {name_of(path) for path in SCRIPTS if "XADD" in path.read_text(encoding="utf-8")}
    assert appending == {
        "bridge/audit.lua",
        "bridge/delivery/erase_answers.lua",
        "bridge/delivery/outcomes.lua",
        "bridge/delivery/show_tries.lua",
        "bridge/erasure/copy_audit.lua",
        "bridge/journal/publish_once.lua",
        "bridge/journal/quarantine.lua",
    }


def test_no_lua_is_written_in_python() -> None:
    # `bridge/state/scripts.py` reads files; the rules for scripts look at files alone.
    holding = {name_of(path) for path in MODULES if re.search(r"redis\.p?call\b", path.read_text(encoding="utf-8"))}
    assert holding == set()


def test_only_the_loader_registers_scripts() -> None:
    # The client of a cluster keeps what the loader registers there.
    call = re.compile(r"(?<!super\(\))\.register_script\(")
    registering = {name_of(path) for path in MODULES if call.search(path.read_text(encoding="utf-8"))}
    assert registering == {"bridge/state/scripts.py"}


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_every_script_is_headed_by_its_keys_arguments_and_result(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    head, code = "\n".join(lines[:first]), "\n".join(lines[first:])
    assert head.startswith(f"-- {script.stem}: ")
    if re.search(r"^return\b", code, re.MULTILINE):
        assert re.search(r"^-- Returns ", head, re.MULTILINE)
    for array in ("KEYS", "ARGV"):
        if array not in code:
            continue
        described = re.search(rf"\b{array}  (.*?)(?=ARGV  |-- Returns |\Z)", head, re.DOTALL)
        assert described, f"{array} is not described"
        used = set(re.findall(rf"{array}\[(\d+)\]", code))
        assert used <= set(re.findall(r"\b(\d+)(?=\.\.| )", described.group(1)))


def test_nothing_is_delayed_by_celery() -> None:
    # Over a Redis broker a countdown beyond the visibility timeout runs several times; what waits is a sorted set.
    def delays(tree: ast.Module) -> list[int]:
        keywords = [node for node in nodes_of(tree) if isinstance(node, ast.keyword)]
        return [keyword.lineno for keyword in keywords if keyword.arg in ("countdown", "eta")]

    assert outside([], delays) == []


def test_every_module_says_what_lives_there() -> None:
    assert [name for name, tree in trees().items() if not ast.get_docstring(tree)] == []


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


@pytest.mark.parametrize(
    "source",
    [
        "one = 1",
        "one: int = 1",
        "one += 1",
        "a, *one = b",
        "def f(one): pass",
        "def f(a, *, one=None): pass",
        "class A:\n    def f(self):\n        one = 1",
        "for a, one in b: pass",
        "[one for one in b]",
        "lambda one: 1",
        "if one := a: pass",
        "with a as one: pass",
    ],
)
def test_a_variable_is_found_wherever_it_is_bound(source: str) -> None:
    assert "one" in {name for _, name in variables(ast.parse(source))}
    assert variables(ast.parse("class A:\n    one: int = 1")) == []


def test_every_variable_is_named_after_what_it_holds() -> None:
    folders = ("benchmarks", "client", "examples", "tests")
    others = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    named = [
        f"{name}:{line}: {variable}"
        for name, tree in {**trees(), **{name_of(path): ast.parse(path.read_bytes()) for path in others}}.items()
        for line, variable in variables(tree)
        if variable in EMPTY_NAMES
    ]
    assert named == []


def test_every_exception_to_a_check_is_narrow() -> None:
    wide = re.compile(r"#\s*noqa(?!: [A-Z]+[0-9]+)|#\s*type: ignore(?!\[)|#\s*ruff: noqa|#\s*mypy: ignore")
    results = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if wide.search(line)
    ]
    assert results == []


@pytest.mark.usefixtures("starts_processes")
def test_the_public_contract_stands_alone() -> None:
    # A subscriber may copy the folder: it must import without the rest of the bridge.
    program = "import sys, schemas.event, schemas.shapes, schemas.export; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {name.split(".")[0] for name in loaded.stdout.split()} & {
        "bridge",
        "workers",
        "flask",
        "celery",
        "redis",
    }
