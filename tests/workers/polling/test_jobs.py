"""Backfills, reconciliations and tests of sources that are asked for over the API and run by a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs
from werkzeug.test import Client

from bridge.polling.worker_jobs import BACKFILL, RECONCILIATION, TEST
from bridge.services import Services
from bridge.state import keys
from bridge.web.api import local_application
from bridge.web.api.common import LOCAL_CALLER, OPERATOR, VIEWER, Caller
from tests.support.polling import DAY, START, Api, Sitting, journal, journal_events, make_services, make_vendor
from tests.support.waiting import until
from workers.polling.jobs import JobRunner

NAME = "eu-little"
PERIOD = {"source": NAME, "first": "2027-01-05", "last": "2027-01-10"}
FIRST = START - 10 * DAY


class Killed(BaseException):
    """The process is gone: nothing may catch it."""


@dataclass
class World:
    """A vendor's API, the bridge's API, and a worker."""

    client: redis.Redis
    moment: float = START
    ends: bool = False

    def __post_init__(self) -> None:
        self.vendor = Api(clock=lambda: self.moment)
        self.serve(make_services(self.client, make_vendor(self.vendor), lambda: self.moment))

    def serve(self, services: Services) -> None:
        self.services, self.bridge = services, Client(local_application(services))

    def call(self, method: str, path: str, body: Any = None, *, role: str = OPERATOR) -> tuple[int, Any]:
        environ = {LOCAL_CALLER: Caller("ann", role)}
        options = {} if body is None else {"json": body}
        answer = self.bridge.open(f"/api/v1/{path}", method=method, environ_overrides=environ, **options)
        return answer.status_code, answer.get_json(silent=True)

    def done(self, method: str, path: str, body: Any = None) -> Any:
        status, document = self.call(method, path, body)
        assert status in (200, 201), document
        return document

    def sit(self, count: int) -> list[str]:
        self.vendor.add(*(Sitting(f"{number:03}", FIRST + 3600.0 * number) for number in range(count)))
        return [f"a:{number:03}" for number in range(count)]

    def work(self) -> None:
        """What a short tick of the worker does."""
        runner = JobRunner(self.services, lambda: self.ends)
        with capture_logs():
            for kind, ident in self.services.open_jobs.all():
                runner.run(kind, ident)

    def alive(self) -> None:
        self.client.set(keys.heartbeat("worker"), "1")

    @property
    def published(self) -> list[str]:
        return [attempt for kind, attempt in journal(self.client) if kind == "attempt.completed"]


@pytest.fixture
def world(state: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(state)

    def sleep(seconds: float) -> None:
        world.moment += seconds

    monkeypatch.setattr("workers.polling.jobs.time", SimpleNamespace(sleep=sleep))
    return world


@contextmanager
def at_call(world: World, number: int, what: Callable[[], Any]) -> Iterator[None]:
    """Do something while the vendor answers its call with this number."""
    done = []

    def before(_: int) -> None:
        done.append(1)
        if len(done) == number:
            what()

    world.vendor.before = before
    yield
    world.vendor.before = lambda number: None


def stop_worker(world: World) -> Callable[[], None]:
    def end() -> None:
        world.ends = True

    return end


# --- backfills


def test_a_backfill_waits_for_a_worker_which_reads_it_and_the_audit_says_who(world: World) -> None:
    expected = world.sit(8)
    row = world.done("POST", "backfills", PERIOD)
    assert (row["state"], row["by"], row["progress"], row["streams"]) == ("waiting", "ann", 0.0, {"results": None})
    assert row["waits"] == "no worker runs. Remedy: start attempt-bridge worker and attempt-bridge beat"
    world.alive()
    assert world.done("GET", f"backfills/{row['id']}")["waits"] == "a worker begins it within seconds"
    world.work()
    done = world.done("GET", f"backfills/{row['id']}")
    assert (done["state"], done["pages"], done["records"], done["new"], done["progress"]) == ("done", 3, 8, 8, 1.0)
    assert (done["waits"], done["outcomes"]) == ("", {"published": 8})
    assert world.published == expected
    assert {event["bridgeorigin"] for event in journal_events(world.client)} == {"backfill"}
    assert world.services.open_jobs.all() == []
    ((_, _, entry),) = world.services.audit.newest_first()
    assert (entry.actor, entry.action, entry.change.target) == ("ann", "addBackfill", f"backfill {row['id']}")
    assert world.done("GET", "backfills")["backfills"] == [done]
    for action in ("stop", "resume", "cancel"):
        status, problem = world.call("POST", f"backfills/{row['id']}/{action}")
        assert (status, problem["detail"]) == (409, f"{row['id']} is done: nothing to {action}")


def test_a_backfill_is_stopped_before_and_while_it_runs_and_continues_where_it_ended(world: World) -> None:
    expected = world.sit(8)
    path = f"backfills/{world.done('POST', 'backfills', PERIOD)['id']}"
    assert world.done("POST", f"{path}/stop")["state"] == "stopped"
    world.work()
    assert world.vendor.calls == []
    assert world.done("POST", f"{path}/resume")["state"] == "waiting"
    with at_call(world, 2, lambda: world.done("POST", f"{path}/stop")):
        world.work()
    half = world.done("GET", path)
    assert (half["state"], half["pages"]) == ("stopped", 2)
    world.done("POST", f"{path}/resume")
    world.work()
    assert world.done("GET", path)["state"] == "done"
    assert world.published == expected
    actions = [entry.action for _, _, entry in world.services.audit.newest_first()]
    assert actions == ["resumeBackfill", "stopBackfill", "resumeBackfill", "stopBackfill", "addBackfill"]


@pytest.mark.parametrize("kill", [False, True], ids=["it ends", "it is killed"])
def test_a_backfill_whose_worker_goes_away_is_continued_by_the_next(world: World, kill: bool) -> None:
    expected = world.sit(8)
    path = f"backfills/{world.done('POST', 'backfills', PERIOD)['id']}"

    def die() -> None:
        raise Killed

    with at_call(world, 2, die if kill else stop_worker(world)):
        if kill:
            with pytest.raises(Killed):
                world.work()
        else:
            world.work()
    # The minute after which the leases of a killed process have ended.
    for lease in (f"backfill:{NAME}", f"poll:{NAME}"):
        world.client.delete(keys.lease(lease))
    world.ends = False
    assert world.done("GET", path)["state"] == "waiting"
    world.work()
    assert world.done("GET", path)["state"] == "done"
    assert world.published == expected


def test_a_dry_run_counts_and_writes_nothing(world: World) -> None:
    world.sit(4)
    row = world.done("POST", "backfills", {**PERIOD, "dry_run": True, "reprocess": "failed"})
    world.work()
    done = world.done("GET", f"backfills/{row['id']}")
    assert (done["state"], done["outcomes"], done["dry_run"]) == ("done", {"published": 4}, True)
    assert done["stored"] == {"quarantined": 0, "requests": 0}
    assert world.published == []
    calls = len(world.vendor.calls)
    counted = world.done("POST", "backfills", {**PERIOD, "dry_run": True, "streams": [], "reprocess": "all"})
    world.work()
    assert world.done("GET", f"backfills/{counted['id']}")["state"] == "done"
    assert len(world.vendor.calls) == calls
    again = world.done("POST", "backfills", {**PERIOD, "dry_run": True})
    with at_call(world, 1, lambda: world.done("POST", f"backfills/{again['id']}/stop")):
        world.work()
    assert world.done("GET", f"backfills/{again['id']}")["state"] == "cancelled"


def test_a_job_that_meets_a_bug_fails_once_and_one_whose_source_is_gone_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.done("POST", "backfills", PERIOD)
    second = world.done("POST", "reconciliations", {"source": NAME})

    def broken(*_: Any) -> None:
        raise RuntimeError("a name of a person")

    with monkeypatch.context() as patch:
        patch.setattr("workers.polling.backfill.run", broken)
        patch.setattr("workers.polling.jobs.reconcile", broken)
        world.work()
    for path in (f"backfills/{first['id']}", f"reconciliations/{second['id']}"):
        row = world.done("GET", path)
        assert (row["state"], row["error"]) == ("failed", "internal error: RuntimeError; see the log of the worker")
    assert world.services.open_jobs.all() == []
    world.done("POST", f"backfills/{first['id']}/resume")
    world.serve(replace(world.services, config=replace(world.services.config, sources={})))
    world.work()
    gone = world.done("GET", f"backfills/{first['id']}")
    assert (gone["error"], gone["progress"]) == (f"source {NAME} is no longer in bridge.yaml. Add it again", None)
    assert world.call("POST", f"backfills/{first['id']}/resume")[0] == 409


def test_backfills_of_one_source_run_one_after_the_other_and_long_jobs_leave_threads_free(world: World) -> None:
    world.sit(2)
    first, second = (world.done("POST", "backfills", PERIOD)["id"] for _ in range(2))
    compared = world.done("POST", "reconciliations", {"source": NAME})["id"]
    runner = JobRunner(world.services)
    seen: list[str] = []

    def meanwhile() -> None:
        # Another thread of this worker, and another worker.
        for other in (runner, JobRunner(world.services)):
            other.run(BACKFILL, second)
        runner.run(RECONCILIATION, compared)
        seen.append(world.done("GET", f"backfills/{second}")["state"])
        seen.append(world.done("GET", f"reconciliations/{compared}")["state"])

    with at_call(world, 1, meanwhile), capture_logs():
        runner.run(BACKFILL, first)
        runner.run(BACKFILL, second)
    assert seen == ["waiting", "waiting"]
    assert [row["state"] for row in world.done("GET", "backfills")["backfills"]] == ["done", "done"]
    page = world.done("GET", "backfills?limit=1")
    assert (page["backfills"][0]["id"], bool(page["next"])) == (second, True)
    rest = world.done("GET", f"backfills?limit=1&cursor={page['next']}")
    assert (rest["backfills"][0]["id"], rest["next"]) == (first, None)


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("backfills", {**PERIOD, "source": "us"}, 422, "unknown source"),
        ("backfills", {**PERIOD, "first": "2027-01-11"}, 422, "Give a later end"),
        ("backfills", {**PERIOD, "first": "soon"}, 422, "soon"),
        ("backfills", {**PERIOD, "streams": ["x"]}, 422, f'unknown stream of {NAME}: "x"'),
        ("backfills", {**PERIOD, "rate": 0}, 422, "rate"),
        ("backfills/eu/1/stop", None, 404, "unknown backfill: eu/1"),
        ("reconciliations", {"source": NAME, "since": "1s"}, 422, "Give a later end"),
        ("reconciliations/eu/1/stop", None, 404, "unknown reconciliation: eu/1"),
        ("sources/us/test", None, 404, "unknown source"),
        (f"sources/{NAME}/test", None, 409, "no worker runs"),
    ],
)
def test_a_wrong_job_is_one_problem(world: World, path: str, body: Any, status: int, says: str) -> None:
    code, document = world.call("POST", path, body)
    assert code == status
    assert says in str(document)
    assert world.services.open_jobs.all() == []
    assert world.call("POST", path, body, role=VIEWER)[0] == 403


# --- reconciliations


def test_a_reconciliation_is_made_by_a_worker_and_its_result_has_the_ids(world: World) -> None:
    world.moment = FIRST + 2 * DAY
    ids = world.sit(3)
    row = world.done("POST", "reconciliations", {"source": NAME, "since": "2027-01-04", "fix": True})
    assert (row["state"], row["counts"]) == ("waiting", None)
    assert [job["state"] for job in world.done("GET", "reconciliations")["reconciliations"]] == ["waiting"]
    world.work()
    after = world.done("GET", f"reconciliations/{row['id']}")
    assert (after["state"], after["by"], after["counts"]["missing"], after["fixed"]) == ("done", "ann", 3, ids)
    assert after["ids"]["missing"] == ids
    assert world.published == ids
    (listed,) = world.done("GET", f"reconciliations?source={NAME}&state=done")["reconciliations"]
    assert "ids" not in listed
    assert listed["id"] == row["id"]
    assert world.call("POST", f"reconciliations/{row['id']}/stop")[0] == 409


def test_a_reconciliation_that_is_stopped_keeps_no_result_and_one_whose_worker_ends_is_made_again(world: World) -> None:
    world.moment = FIRST + 2 * DAY
    world.sit(8)
    path = f"reconciliations/{world.done('POST', 'reconciliations', {'source': NAME})['id']}"
    with at_call(world, 2, stop_worker(world)):
        world.work()
    world.ends = False
    assert world.done("GET", path)["state"] == "waiting"
    with at_call(world, 2, lambda: world.done("POST", f"{path}/stop")):
        world.work()
    assert (world.done("GET", path)["state"], world.done("GET", path)["counts"]) == ("stopped", None)
    other = f"reconciliations/{world.done('POST', 'reconciliations', {'source': NAME})['id']}"
    assert world.done("POST", f"{other}/stop")["state"] == "stopped"
    assert world.services.open_jobs.all() == []


# --- tests of sources


def test_a_test_of_a_source_is_answered_at_once_if_a_worker_makes_it_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sit(2)
    world.alive()

    def tick() -> None:
        until(world.services.open_jobs.all)
        world.work()

    worker = threading.Thread(target=tick)
    worker.start()
    status, document = world.call("POST", f"sources/{NAME}/test")
    worker.join()
    assert (status, document["state"], document["ok"]) == (200, "done", True)
    assert [step["name"] for step in document["steps"]] == ["results"]
    monkeypatch.setattr("bridge.web.api.source_tests._LONGEST_WAIT", 0.0)
    status, document = world.call("POST", f"sources/{NAME}/test")
    number = document["id"].partition("/")[2]
    assert (status, document["state"], document["ok"]) == (202, "waiting", None)
    world.moment += 61.0
    world.work()
    late = world.done("GET", f"sources/{NAME}/tests/{number}")
    assert (late["state"], late["ok"], late["error"]) == ("failed", False, "no worker began it within 60 s. Test again")
    assert world.services.open_jobs.all() == []
    assert world.call("GET", f"sources/{NAME}/tests/none")[0] == 404
    assert world.call("GET", f"reconciliations/{document['id']}")[0] == 404
    assert TEST not in [kind for kind, _ in world.services.open_jobs.all()]
