"""The tests' own order: where helpers are, and which tests start servers and processes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis
import structlog
from structlog.testing import capture_logs

import tests.support
from bridge.config.model import BridgeConfig
from bridge.journal import Journal
from tests.support.partitions import default_partitions, numbers, with_default_partitions
from tests.support.web import captured_logs

pytest_plugins = ["pytester"]

TESTS = Path(__file__).parent


def test_a_test_file_imports_helpers_from_support_and_nothing_from_another_test_file() -> None:
    results = [
        f"{path.relative_to(TESTS)}: {module}"
        for path in sorted(TESTS.rglob("*.py"))
        # They run the contract suites over broken vendors.
        if path.name not in ("test_contract_kit.py", "test_contract_suites.py")
        for module in re.findall(r"^\s*(?:from|import) (tests[\w.]*)", path.read_text(), re.M)
        if not module.startswith(("tests.support", "tests.simulation.world"))
    ]
    assert results == []


def test_every_helper_module_has_its_line() -> None:
    listed = [name.rstrip("/") for name in re.findall(r"^([a-z_]+/?)  ", tests.support.__doc__, re.M)]
    there = {path.stem for path in (TESTS / "support").iterdir() if path.name[0] != "_"}
    assert sorted(listed) == sorted(there)


# Marks ---------------------------------------------------------------------------------------------------------------

#: Tests of a suite with our conftest. What they would start does not exist: nothing runs, whatever the guard does.
SAMPLE = """
import os
import subprocess
import pytest
from tests.support.forked import Forked

def starts(program):
    with pytest.raises(FileNotFoundError):
        subprocess.run([f"/nowhere/{program}"])

@pytest.fixture
def worker(starts_processes):
    return lambda: starts("worker")

def test_needs_a_server(state): pass
def test_needs_a_server_through_another_fixture(worker, own_server): worker()
def test_needs_a_process(worker): worker()
def test_has_a_process_and_starts_a_server(worker): starts("valkey-server")
def test_has_a_server_and_starts_a_process(starts_servers): starts("worker")
def test_starts_a_process_unasked(): starts("worker")
def test_starts_a_server_unasked(): starts("valkey-server")
def test_forks_unasked(): Forked(["-m", "bridge"], stdout=None, stderr=None)
def test_spawns_unasked():
    with pytest.raises(FileNotFoundError):
        os.posix_spawn("/nowhere/worker", ["worker"], {})
"""


@pytest.fixture
def sample(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest("from tests.conftest import *")
    pytester.makepyfile(SAMPLE)
    pytester.makeini("[pytest]\nmarkers =\n  server\n  process\n  rabbitmq\n  long\n")
    return pytester


@pytest.mark.long
@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("server and not process", {"needs_a_server", "has_a_server_and_starts_a_process"}),
        ("process and not server", {"needs_a_process", "has_a_process_and_starts_a_server"}),
        ("server and process", {"needs_a_server_through_another_fixture"}),
    ],
)
def test_a_test_is_marked_by_the_fixtures_that_it_requests(
    sample: pytest.Pytester, expression: str, names: set[str]
) -> None:
    output = sample.runpytest_inprocess("--collect-only", "-q", "-m", expression).outlines
    chosen = {line.partition("::test_")[2] for line in output if "::test_" in line}
    assert chosen == names


@pytest.mark.long
def test_whatever_starts_without_its_mark_fails(sample: pytest.Pytester) -> None:
    result = sample.runpytest_inprocess("-q", "-k", "a_process or unasked")
    result.assert_outcomes(passed=1, failed=6)
    result.stdout.fnmatch_lines_random(
        [
            "E *RuntimeError: test starts a process: worker. Request the fixture starts_processes",
            "E *RuntimeError: test starts a process: valkey-server. Request the fixture starts_servers",
            "E *RuntimeError: test starts a process: bridge. Request the fixture starts_processes",
            "E *RuntimeError: test starts a process: posix_spawn. Request the fixture starts_processes",
        ]
    )


@pytest.mark.usefixtures("starts_processes")
def test_a_worker_measures_coverage_in_short_tests_of_the_measured_packages_only_and_reports_lone_surrogates(
    sample: pytest.Pytester,
) -> None:
    sample.makepyprojecttoml('[tool.coverage.run]\nbranch = true\ninclude = ["bridge/delivery/*"]\n')
    for package, is_measured in (("journal", True), ("net", False), ("web/ui", False)):
        folder = sample.path / "tests" / package
        folder.mkdir(parents=True)
        (folder / f"test_{folder.name}.py").write_text(
            "import pytest, sys\n"
            f"def test_it(): assert (sys.gettrace() is not None) == {is_measured}\n"
            "@pytest.mark.long\n"
            "def test_long(): assert sys.gettrace() is None\n"
        )
    sample.makepyfile(test_odd="def test_odd(): assert ascii('\\ud800') == '' or '\\ud800' == ''")
    result = sample.runpytest_subprocess("-n", "1", "--cov", "--cov-report=", "tests", "test_odd.py")
    result.assert_outcomes(passed=6, failed=1)


def test_a_logger_that_was_used_under_one_configuration_follows_the_next() -> None:
    log = structlog.get_logger("kept")
    with captured_logs("error") as stream:
        log.error("first")
    with capture_logs() as lines:
        log.warning("second")
    assert '"first"' in stream.getvalue()
    assert [line["event"] for line in lines] == ["second"]


def test_no_test_sets_these_marks_by_hand() -> None:
    by_hand = re.compile(r"mark\.(server|process|rabbitmq)\b")
    assert [str(path) for path in sorted(TESTS.rglob("*.py")) if by_hand.search(path.read_text())] == []


# Partitions -----------------------------------------------------------------------------------------------------------

#: Tests of a suite with our conftest, which are only collected.
PLACES = """
import pytest

def test_plain(state): pass
@pytest.mark.cluster_too
def test_both(state): pass
@pytest.mark.own_partitions
def test_own(state): pass
@pytest.mark.single_server
def test_alone(state): pass
@pytest.mark.parametrize("state", ["draft"])
def test_named(state): pass
def test_elsewhere(state, own_server): pass
def test_without(): pass
"""


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (
            [],
            {
                "plain",
                "both[server]",
                "both[cluster-6-partitions]",
                "own",
                "alone",
                "named[draft]",
                "elsewhere",
                "without",
            },
        ),
        (
            ["--on-cluster"],
            {f"{name}[{place}]" for name in ("plain", "both") for place in ("cluster", "cluster-6-partitions")}
            | {"own[cluster]"},
        ),
    ],
    ids=["all tests", "tests of stores over a cluster"],
)
def test_a_test_of_a_store_runs_in_each_of_its_places(
    pytester: pytest.Pytester, options: list[str], names: set[str]
) -> None:
    pytester.makeconftest("from tests.conftest import *")
    pytester.makepyfile(PLACES)
    pytester.makeini("[pytest]\nmarkers =\n  cluster_too\n  own_partitions\n  single_server\n  server\n  process\n")
    output = pytester.runpytest_inprocess("--collect-only", "-q", *options).outlines
    assert {line.partition("::test_")[2] for line in output if "::test_" in line} == names


def test_whatever_has_one_partition_by_default_follows_a_run_with_more() -> None:
    files = [path for package in ("bridge", "workers") for path in (TESTS.parent / package).rglob("*.py")]
    makers = {str(path.relative_to(TESTS.parent)) for path in files if "partitions: int = 1" in path.read_text()}
    assert {f"{maker.__module__.replace('.', '/')}.py" for maker in with_default_partitions()} == makers


def test_a_number_that_a_test_names_is_kept_and_the_default_ends_with_the_test() -> None:
    def made() -> tuple[int, int, int, range]:
        client, config = redis.Redis(), BridgeConfig(name="acme", public_url="")
        return Journal(client).partitions, Journal(client, partitions=2).partitions, config.partitions, numbers()

    with default_partitions(6):
        assert made() == (6, 2, 6, range(6))
    assert made() == (1, 2, 1, range(1))
